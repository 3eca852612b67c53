"""What each method of the clients sends and how its answer is read: pure, shared by both."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from urllib.parse import quote

import msgspec

from qtinfra.client.errors import Answer, BadAnswerError, RefusedError, bad_answer
from qtinfra.client.models import (
    Execution,
    Health,
    KillOutcome,
    KillSwitch,
    Limit,
    Locate,
    Order,
    OrderDetail,
    OrderList,
    Page,
    Position,
    Revocation,
    RoutePreview,
    Venue,
)
from qtinfra.client.retries import Call, Request
from qtinfra.client.terms import Number, SpecialTerms, Terms, moment, terms_body
from qtinfra.core.decimals import plain
from qtinfra.core.extended_models import KillScope, LimitRule
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.special import Link

Result = TypeVar("Result")
#: Rows of one page unless asked otherwise.
PAGE = 200


def new_id() -> str:
    """A client order id that nobody else makes, from 128 random bits."""
    return f"c-{secrets.token_hex(16)}"


def number(name: str, value: object) -> str:
    """An exact number as the wire writes it.

    Raises:
        RefusedError: a float, not a number, or not finite; names the field.
    """
    exact = None
    if isinstance(value, Decimal | int | str) and not isinstance(value, bool):
        try:
            exact = Decimal(value)
        except InvalidOperation:
            exact = None
    if exact is None or not exact.is_finite():
        raise RefusedError(
            f"{name} must be an exact, finite number (Decimal, int or str), not {value!r}",
            code="number_format",
            context={"field": name, "rule": "number_format", "limit": "exact", "value": str(value)[:60]},
        )
    return value if isinstance(value, str) else plain(exact)


def submit(
    symbol: str,
    side: OrderSide | str,
    quantity: Number,
    *,
    price: Number | None,
    order_type: OrderType | str | None,
    time_in_force: TimeInForce | str,
    account_id: str | None,
    client_order_id: str,
    min_quantity: Number | None,
    text: str,
    terms: SpecialTerms | None = None,
) -> Call[Order]:
    """POST /orders. The client order id makes it repeatable."""
    kind = order_type or (OrderType.MARKET if price is None else OrderType.LIMIT)
    body: dict[str, object] = {
        "symbol": symbol,
        "side": str(side),
        "quantity": number("quantity", quantity),
        "order_type": str(kind),
        "time_in_force": str(time_in_force),
        "client_order_id": client_order_id,
    }
    if price is not None:
        body["price"] = number("price", price)
    if min_quantity is not None:
        body["min_quantity"] = number("min_quantity", min_quantity)
    body |= _given(account_id=account_id, text=text)
    body |= terms_body(terms or {}, number)
    about = (("client_order_id", client_order_id), ("account_id", account_id or ""))
    return Call(_posted("/orders", body), _reader(Order), changes=True, about=about)


def submit_list(link: Link | str, orders: Sequence[bytes], client_order_id: str) -> Call[OrderList]:
    """POST /orders:list. The client order ids make it repeatable.

    Args:
        orders: each as POST /orders takes it.
        client_order_id: of the first, to ask after when it is not known what became of the list.
    """
    body = list_body(link, orders)
    about = (("client_order_id", client_order_id),)
    return Call(_posted("/orders:list", body), _reader(OrderList), changes=True, about=about)


def list_body(link: Link | str, orders: Sequence[bytes]) -> dict[str, object]:
    """What POST /orders:list takes, and a frame with lists."""
    return {"link": str(link), "orders": [msgspec.Raw(order) for order in orders]}


def replace(
    order_id: str,
    quantity: Number | None,
    price: Number | None,
    client_order_id: str,
    version: int | None,
    terms: Terms | None = None,
) -> Call[Order]:
    """PUT /orders/{id}. The client order id makes it repeatable, unless it is bound to a version.

    Sent again after it has taken effect, a change for one version meets the next one, and the refusal
    would not tell whose change that was.
    """
    body: dict[str, object] = {"client_order_id": client_order_id}
    for name, value in (("quantity", quantity), ("price", price)):
        if value is not None:
            body[name] = number(name, value)
    body |= terms_body(terms or {}, number)
    request = Request("PUT", _order_path(order_id), (), _if_match(version), msgspec.json.encode(body))
    about = (("order_id", order_id), ("client_order_id", client_order_id))
    return Call(request, _reader(Order), changes=True, repeatable=version is None, about=about)


def cancel(order_id: str, key: str, version: int | None) -> Call[Order]:
    """DELETE /orders/{id}. The idempotency key makes it repeatable, unless it is bound to a version."""
    headers = (("idempotency-key", key), *_if_match(version))
    request = Request("DELETE", _order_path(order_id), (), headers)
    about = (("order_id", order_id),)
    return Call(request, _reader(Order), changes=True, repeatable=version is None, about=about)


def get_order(order_id: str) -> Call[OrderDetail]:
    """GET /orders/{id}."""
    return Call(Request("GET", _order_path(order_id)), _reader(OrderDetail))


def list_orders(limit: int, sort: str, filters: Mapping[str, str], cursor: str) -> Call[Page[Order]]:
    """One page of GET /orders."""
    return Call(_listed("/orders", limit, {"sort": sort, **filters}, cursor), _reader(Page[Order]))


def find_order(client_order_id: str, account_id: str | None) -> Call[Order | None]:
    """GET /orders by the client order id it was sent under, which is unique within an account."""
    read = _reader(Page[Order])

    def first(answer: Answer) -> Order | None:
        found = read(answer).items
        if len(found) > 1:
            raise bad_answer(answer, f"{len(found)} orders have this id; name the account")
        return found[0] if found else None

    filters = {
        "original_client_order_id": client_order_id,
        **_given(account_id=account_id),
    }
    return Call(_listed("/orders", 2, filters, ""), first)


def list_executions(limit: int, filters: Mapping[str, str], cursor: str) -> Call[Page[Execution]]:
    """One page of GET /executions."""
    return Call(_listed("/executions", limit, filters, cursor), _reader(Page[Execution]))


def list_positions(limit: int, filters: Mapping[str, str], cursor: str) -> Call[Page[Position]]:
    """One page of GET /positions."""
    return Call(_listed("/positions", limit, filters, cursor), _reader(Page[Position]))


def list_venues(cursor: str) -> Call[Page[Venue]]:
    """One page of GET /venues."""
    return Call(_listed("/venues", PAGE, {}, cursor), _reader(Page[Venue]))


def route(
    symbol: str, side: OrderSide | str, quantity: Number, price: Number | None, account_id: str | None
) -> Call[RoutePreview]:
    """POST /route as a dry run."""
    body = {
        "symbol": symbol,
        "side": str(side),
        "quantity": number("quantity", quantity),
        "order_type": str(OrderType.MARKET if price is None else OrderType.LIMIT),
        **_given(account_id=account_id),
    }
    if price is not None:
        body["price"] = number("price", price)
    return Call(_posted("/route", body), _reader(RoutePreview))


def list_limits() -> Call[Page[Limit]]:
    """GET /risk/limits."""
    return Call(Request("GET", "/risk/limits"), _reader(Page[Limit]))


def set_limit(
    rule: LimitRule | str, value: Number, account_id: str | None, symbol: str | None, reason: str
) -> Call[Limit]:
    """PUT /risk/limits. Setting the same value twice sets it once."""
    body = {"rule": str(rule), "value": number("value", value)}
    body |= _given(account_id=account_id, symbol=symbol, reason=reason)
    request = Request("PUT", "/risk/limits", body=msgspec.json.encode(body))
    about = (("rule", str(rule)), ("account_id", account_id or ""), ("symbol", symbol or ""))
    return Call(request, _reader(Limit), changes=True, about=about)


def grant_locate(
    locate_id: str, account_id: str, symbol: str, quantity: Number, source: str, trade_date: str
) -> Call[Locate]:
    """POST /risk/locates. Not repeated in doubt: the id is used once, a refusal would not tell by whom."""
    body = {"locate_id": locate_id, "account_id": account_id, "symbol": symbol}
    body |= {"quantity": number("quantity", quantity), **_given(source=source, trade_date=trade_date)}
    about = (("locate_id", locate_id), ("account_id", account_id))
    return Call(_posted("/risk/locates", body), _reader(Locate), changes=True, repeatable=False, about=about)


def list_locates() -> Call[Page[Locate]]:
    """GET /risk/locates."""
    return Call(Request("GET", "/risk/locates"), _reader(Page[Locate]))


def revoke(
    token_id: str, subject: str, expires_at: datetime | None, issued_before: datetime | None, reason: str
) -> Call[Revocation]:
    """POST /admin/tokens:revoke. Revoking twice revokes once."""
    body: dict[str, object] = {**_given(token_id=token_id, subject=subject, reason=reason)}
    for name, given in (("expires_at", expires_at), ("issued_before", issued_before)):
        if given is not None:
            body[name] = moment(name, given)
    about = (("token_id", token_id), ("subject", subject))
    return Call(_posted("/admin/tokens:revoke", body), _reader(Revocation), changes=True, about=about)


def list_revocations() -> Call[Page[Revocation]]:
    """GET /admin/tokens:revoked."""
    return Call(Request("GET", "/admin/tokens:revoked"), _reader(Page[Revocation]))


def list_kill_switches() -> Call[Page[KillSwitch]]:
    """GET /risk/kill-switches."""
    return Call(Request("GET", "/risk/kill-switches"), _reader(Page[KillSwitch]))


def kill(scope: KillScope | str, value: str, reason: str) -> Call[KillOutcome]:
    """POST /risk/kill-switches. Engaging twice engages once."""
    return _switch("/risk/kill-switches", scope, value, reason, repeatable=True)


def release(scope: KillScope | str, value: str, reason: str) -> Call[KillOutcome]:
    """POST /risk/kill-switches:release. Not repeated in doubt: somebody may have engaged it again since."""
    return _switch("/risk/kill-switches:release", scope, value, reason, repeatable=False)


def _switch(
    path: str, scope: KillScope | str, value: str, reason: str, *, repeatable: bool
) -> Call[KillOutcome]:
    body = {"scope": str(scope), **_given(value=value, reason=reason)}
    about = (("scope", str(scope)), ("value", value))
    return Call(_posted(path, body), _reader(KillOutcome), changes=True, repeatable=repeatable, about=about)


def health() -> Call[Health]:
    """GET /healthz."""
    return Call(Request("GET", "/healthz"), _reader(Health))


def moved_on(cursor: str, following: str) -> str:
    """The cursor of the next page.

    Raises:
        BadAnswerError: the server sent the same cursor again; following it would never end.
    """
    if following == cursor:
        raise BadAnswerError("the server's list does not move on")
    return following


def _posted(path: str, body: Mapping[str, object]) -> Request:
    return Request("POST", path, body=msgspec.json.encode(body))


def _listed(path: str, limit: int, filters: Mapping[str, str], cursor: str) -> Request:
    params = {"limit": str(limit), **filters, **({"cursor": cursor} if cursor else {})}
    return Request("GET", path, tuple(params.items()))


def _order_path(order_id: str) -> str:
    return f"/orders/{quote(order_id, safe='')}"


def _if_match(version: int | None) -> tuple[tuple[str, str], ...]:
    return () if version is None else (("if-match", f'"{version}"'),)


def _given(**values: str | None) -> dict[str, str]:
    """What was given and is not empty."""
    return {name: value for name, value in values.items() if value}


def _reader(kind: type[Result]) -> Callable[[Answer], Result]:
    def read(answer: Answer) -> Result:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise bad_answer(answer, str(error)) from error

    return read
