"""The client for threads and scripts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import TypeVar, Unpack

import httpx

from qtinfra.client import calls
from qtinfra.client.errors import Answer
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
from qtinfra.client.retries import Call, NoAnswer, Request, RetryPolicy, Wait, converse
from qtinfra.client.streaming import Feed, NewOrder
from qtinfra.client.streams import Stream
from qtinfra.client.terms import Number, SpecialTerms, Terms
from qtinfra.client.transport import Token, answer_of, headers_for, no_answer, settings
from qtinfra.core.extended_models import KillScope, LimitRule
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.special import Link

Result = TypeVar("Result")
Row = TypeVar("Row")


class Client:
    """The API as methods; a context manager. One client serves several threads.

    Every method raises the errors of `qtinfra.client.errors`. Numbers go out as exact text: give Decimal, int
    or str, a float is refused.

    Args:
        url: base address of the API.
        token: bearer token, or a function that gives a fresh one for each request.
        timeout_s: longest wait for the connection and for each part of an answer, in seconds.
        policy: when calls are sent again.
        transport: httpx transport instead of the network, for tests.
        new_id: makes client order ids that are not given; unique for ever.
        pause: waits for so many seconds between attempts.
        jitter: a fraction from 0 to 1, drawn anew for each pause.
    """

    def __init__(
        self,
        url: str,
        token: Token = "",
        *,
        timeout_s: float = 10.0,
        policy: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        new_id: Callable[[], str] = calls.new_id,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._http = httpx.Client(transport=transport, **settings(url, timeout_s))
        self._url = url
        self._timeout_s = timeout_s
        self._token = token
        self._policy = policy or RetryPolicy()
        self._new_id = new_id
        self._pause = pause
        self._jitter = jitter

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- orders ----------------------------------------------------------------------------------------

    def submit(
        self,
        symbol: str,
        side: OrderSide | str,
        quantity: Number,
        *,
        price: Number | None = None,
        order_type: OrderType | str | None = None,
        time_in_force: TimeInForce | str = TimeInForce.DAY,
        account_id: str | None = None,
        client_order_id: str | None = None,
        min_quantity: Number | None = None,
        text: str = "",
        **terms: Unpack[SpecialTerms],
    ) -> Order:
        """Send a new order; safe to repeat, since the client order id names it for ever.

        Args:
            quantity: units of the instrument, a multiple of its lot.
            price: limit per unit in the instrument's currency; without one it is a market order.
            order_type: LIMIT with a price, otherwise MARKET, unless given.
            account_id: may be left out by the bearer of a token for one account.
            client_order_id: yours, or a new one.
            terms: of an order that is not plain, as in `terms.SpecialTerms`.

        Raises:
            SubmissionUnknownError: ask `find_order` with the id in its context before anything else.
        """
        return self._run(
            calls.submit(
                symbol,
                side,
                quantity,
                price=price,
                order_type=order_type,
                time_in_force=time_in_force,
                account_id=account_id,
                client_order_id=client_order_id or self._new_id(),
                min_quantity=min_quantity,
                text=text,
                terms=terms,
            )
        )

    def submit_list(self, link: Link | str, orders: Sequence[NewOrder]) -> OrderList:
        """Send orders that hang together, 2 to 16 of one account and symbol: all are accepted or none.

        Args:
            link: OCO, or BRACKET with the entry first.
            orders: made by `new_order`.

        Raises:
            SubmissionUnknownError: ask `find_order` with the first order's id before anything else.
        """
        first = orders[0].client_order_id if orders else ""
        return self._run(calls.submit_list(link, [order.body for order in orders], first))

    def replace(
        self,
        order_id: str,
        *,
        quantity: Number | None = None,
        price: Number | None = None,
        client_order_id: str | None = None,
        version: int | None = None,
        **terms: Unpack[Terms],
    ) -> Order:
        """Change the total quantity, the price, special terms, or several of them.

        Args:
            version: do it only if the order still has this version.
        """
        wanted = client_order_id or self._new_id()
        return self._run(calls.replace(order_id, quantity, price, wanted, version, terms))

    def cancel(self, order_id: str, *, version: int | None = None) -> Order:
        """Cancel what is open of an order.

        Args:
            version: do it only if the order still has this version.
        """
        return self._run(calls.cancel(order_id, self._new_id(), version))

    def get(self, order_id: str) -> OrderDetail:
        """An order with its executions, children and history."""
        return self._run(calls.get_order(order_id))

    def find_order(self, client_order_id: str, account_id: str | None = None) -> Order | None:
        """The order sent under a client order id; None when the token's accounts have none."""
        return self._run(calls.find_order(client_order_id, account_id))

    def list(self, *, limit: int = calls.PAGE, sort: str = "-created_at", **filters: str) -> Iterator[Order]:
        """All orders that fit, page by page as they are taken.

        Args:
            limit: orders a page, 1 to 500.
            sort: field names joined by commas, `-` before one for descending.
            filters: by field, such as `symbol="AAPL"`, or with an operator, such as
                `**{"status[in]": "ROUTED,FILLED"}`.
        """
        return self._pages(lambda cursor: calls.list_orders(limit, sort, filters, cursor))

    # -- what came of it -------------------------------------------------------------------------------

    def executions(self, *, limit: int = calls.PAGE, **filters: str) -> Iterator[Execution]:
        """Executions that fit, page by page; filters as in `list`."""
        return self._pages(lambda cursor: calls.list_executions(limit, filters, cursor))

    def positions(self, *, limit: int = calls.PAGE, **filters: str) -> Iterator[Position]:
        """Positions that fit, page by page; filters as in `list`."""
        return self._pages(lambda cursor: calls.list_positions(limit, filters, cursor))

    # -- market and routing ----------------------------------------------------------------------------

    def venues(self) -> Iterator[Venue]:
        """The venues and how they are connected."""
        return self._pages(calls.list_venues)

    def route(
        self,
        symbol: str,
        side: OrderSide | str,
        quantity: Number,
        *,
        price: Number | None = None,
        account_id: str | None = None,
    ) -> RoutePreview:
        """How such an order would be routed now; nothing is sent anywhere."""
        return self._run(calls.route(symbol, side, quantity, price, account_id))

    # -- risk ------------------------------------------------------------------------------------------

    def limits(self) -> tuple[Limit, ...]:
        """The limits in force within the token's accounts."""
        return self._run(calls.list_limits()).items

    def set_limit(
        self,
        rule: LimitRule | str,
        value: Number,
        *,
        account_id: str | None = None,
        symbol: str | None = None,
        reason: str = "",
    ) -> Limit:
        """Set one limit, for an account or every account, for a symbol or every symbol."""
        return self._run(calls.set_limit(rule, value, account_id, symbol, reason))

    def grant_locate(
        self,
        locate_id: str,
        account_id: str,
        symbol: str,
        quantity: Number,
        *,
        source: str = "",
        trade_date: str = "",
    ) -> Locate:
        """Grant shares located for short sales of an account, for any day or for one (ISO 8601)."""
        call = calls.grant_locate(locate_id, account_id, symbol, quantity, source, trade_date)
        return self._run(call)

    def locates(self) -> tuple[Locate, ...]:
        """Locates of the token's accounts and what is left of them, the newest first."""
        return self._run(calls.list_locates()).items

    def kill(self, scope: KillScope | str, value: str = "", reason: str = "") -> KillOutcome:
        """Refuse new flow in a scope at once and cancel what is open in it. FIRM takes no value."""
        return self._run(calls.kill(scope, value, reason))

    def release(self, scope: KillScope | str, value: str = "", reason: str = "") -> KillOutcome:
        """End a kill switch; cancelled orders stay cancelled."""
        return self._run(calls.release(scope, value, reason))

    def kill_switches(self) -> tuple[KillSwitch, ...]:
        """The kill switches that are engaged."""
        return self._run(calls.list_kill_switches()).items

    def revoke(
        self,
        *,
        token_id: str = "",
        subject: str = "",
        expires_at: datetime | None = None,
        issued_before: datetime | None = None,
        reason: str = "",
    ) -> Revocation:
        """Refuse one token, or all that a subject was issued before a moment, from the next request on.

        Args:
            token_id: the token's `jti`; either this or `subject`.
            expires_at: when that token ends anyway; the longest life of a token unless given.
            issued_before: of a subject's tokens; now unless given.
        """
        return self._run(calls.revoke(token_id, subject, expires_at, issued_before, reason))

    def revocations(self) -> tuple[Revocation, ...]:
        """The newest revocations in force."""
        return self._run(calls.list_revocations()).items

    def health(self) -> Health:
        """Whether the server is up; needs no token."""
        return self._run(calls.health())

    # -- the stream ------------------------------------------------------------------------------------

    def stream(
        self,
        *topics: str,
        accounts: Sequence[str] = (),
        symbols: Sequence[str] = (),
        cancel_after_s: int | None = None,
        session: str = "",
    ) -> Stream:
        """Live news of topics, and order entry over the same connection; a context manager.

        Args:
            topics: of orders, executions, positions, book, algo, alerts; none for order entry only.
            accounts, symbols: only these; empty for all within the token's reach. The book needs symbols.
            cancel_after_s: cancel on disconnect: the orders of this stream that are open so many seconds (0
                to 300) after its connection has ended; None keeps them.
            session: name by which another stream goes on with these orders within that time.

        Raises:
            ValueError: there is no such topic, or the book has no symbols.
        """
        feed = Feed(topics, accounts, symbols, cancel_after_s, session)
        return Stream(self._url, self._token, feed, self._policy, self._timeout_s, self._pause, self._jitter)

    # -- the conversation ------------------------------------------------------------------------------

    def _pages(self, page: Callable[[str], Call[Page[Row]]]) -> Iterator[Row]:
        cursor = ""
        while True:
            found = self._run(page(cursor))
            yield from found.items
            if not found.next_cursor:
                return
            cursor = calls.moved_on(cursor, found.next_cursor)

    def _run(self, call: Call[Result]) -> Result:
        talk = converse(call, self._policy, self._jitter)
        correlation_id = calls.new_id()
        step = next(talk)
        while True:
            came: Answer | NoAnswer | None = None
            if isinstance(step, Wait):
                self._pause(step.seconds)
            else:
                came = self._send(step, correlation_id)
            try:
                step = talk.send(came)
            except StopIteration as end:
                result: Result = end.value
                return result

    def _send(self, request: Request, correlation_id: str) -> Answer | NoAnswer:
        headers = headers_for(request, self._token, correlation_id)
        try:
            response = self._http.request(
                request.method,
                request.path,
                params=list(request.params) or None,
                headers=headers,
                content=request.body or None,
            )
        except httpx.RequestError as error:
            return no_answer(error)
        return answer_of(response)
