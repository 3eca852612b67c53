"""Cash of accounts that keep it: payments in and out, and exchanges of one currency for another."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.book_events import CashExchanged, CashPaid
from qtinfra.core.commands import ExchangeCash, PayCash
from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.decisions import Refusal
from qtinfra.core.events import CommandRefused
from qtinfra.core.market import MarketView
from qtinfra.core.models import Currency
from qtinfra.core.validation.rules import in_range
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.evolve_books import payment_text
from qtinfra.engine.evolve_pnl import keeps_pnl
from qtinfra.engine.state import State
from qtinfra.positions.fx import MissingRate, conversion


def pay_cash(state: State, command: PayCash, now_ns: int, market: MarketView, out: Decision) -> None:
    """Money comes into an account or leaves it; the same payment again changes nothing."""
    del now_ns, market
    event = CashPaid(
        command.payment_id,
        command.account,
        command.currency,
        canonical(command.amount) if in_range(command.amount) else command.amount,
        command.author,
        command.reason,
    )
    _decide(state, event, [("amount", command.amount)], command.currency, out)


def exchange_cash(
    state: State, command: ExchangeCash, now_ns: int, market: MarketView, out: Decision
) -> None:
    """One currency is dealt for another; the same exchange again changes nothing."""
    del now_ns, market
    amounts = [("sold_amount", command.sold_amount), ("bought_amount", command.bought_amount)]
    for field, amount in amounts:
        if in_range(amount) and amount < ZERO:
            text = f"{field} must be positive"
            _refuse(out, command.account, Refusal("must_be_positive", text, field, "0", str(amount)[:60]))
            return
    if command.sold is command.bought:
        text = "an exchange is between two currencies"
        _refuse(out, command.account, Refusal("same_currency", text, "bought", "", command.bought))
        return
    event = CashExchanged(
        command.payment_id,
        command.account,
        command.sold,
        canonical(command.sold_amount) if in_range(command.sold_amount) else command.sold_amount,
        command.bought,
        canonical(command.bought_amount) if in_range(command.bought_amount) else command.bought_amount,
        command.author,
    )
    _decide(state, event, amounts, command.sold, out)


def _decide(
    state: State,
    event: CashPaid | CashExchanged,
    amounts: list[tuple[str, Decimal]],
    currency: Currency,
    out: Decision,
) -> None:
    refusal = _wrong(state, event, amounts, currency)
    if refusal is not None:
        _refuse(out, event.account, refusal)
    elif event.payment_id not in state.books.payments:
        out.add(event)


def _wrong(
    state: State, event: CashPaid | CashExchanged, amounts: list[tuple[str, Decimal]], currency: Currency
) -> Refusal | None:
    name = event.account
    if name not in state.accounts:
        return Refusal("unknown_account", f"account {name[:24]!r} is not known", "account", "", name[:24])
    for field, amount in amounts:
        if not in_range(amount) or not amount:
            text = f"{field} is not a usable number"
            return Refusal("out_of_range", text, field, "", str(amount)[:60])
    payment_id = event.payment_id
    if not payment_id or len(payment_id) > 60:
        text = "a payment needs an id of at most 60 characters"
        return Refusal("value_required", text, "payment_id", "60", payment_id[:60])
    known = state.books.payments.get(payment_id)
    if known is not None and known != payment_text(event):
        text = f"another payment is called {payment_id!r}"
        return Refusal("payment_exists", text, "payment_id", "", payment_id)
    if state.cash is None or name not in state.cash.accounts:
        text = f"no cash is kept for {name}: load it first"
        return Refusal("cash_not_kept", text, "account", "", name)
    return missing_rate(state, name, currency)


def missing_rate(state: State, account: str, currency: Currency) -> Refusal | None:
    """Why capital in a currency cannot enter an account whose profit and loss is kept in base."""
    if not keeps_pnl(state, account):
        return None
    found = conversion(state.fx_rates, currency, state.accounts[account].base_currency)
    if not isinstance(found, MissingRate):
        return None
    text = f"the base-currency value needs a rate {found.pair}"
    return Refusal("missing_rate", text, "currency", found.pair, currency)


def _refuse(out: Decision, account: str, refusal: Refusal) -> None:
    out.add(
        CommandRefused(
            account[:60], "", refusal.code, refusal.field, refusal.limit, refusal.observed, refusal.text
        )
    )
