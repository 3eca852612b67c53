"""The part of evolve that keeps profit and loss in base currency, for accounts whose policy asks for it.

The ledger learns of a position by what its realised profit and fees are more than before, so that fills,
busts, corrections and splits all reach it in one way.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO, canonical
from qtinfra.core.events import ReferenceSet
from qtinfra.core.models import Currency, Money
from qtinfra.engine.book_state import Seen
from qtinfra.engine.invariants import invariant
from qtinfra.engine.state import State
from qtinfra.positions.base_pnl import PnlLedger


def keeps_pnl(state: State, account: str) -> bool:
    """Whether the account's profit and loss is kept in its base currency."""
    return state.pnl is not None and account in state.pnl.accounts


def open_ledger(state: State, event: ReferenceSet) -> None:
    """Begin the ledger of accounts that ask for it; decide has seen to it that they have not traded."""
    for account in event.accounts:
        policy = account.policies.realised_at
        if policy is not None:
            if state.pnl is None:
                state.pnl = PnlLedger()
            state.pnl.open(account.account, account.base_currency, policy)


def follow(state: State, account: str, symbol: str) -> None:
    """Bring the ledger in line with a position that may have changed."""
    pnl = state.pnl
    if pnl is None or account not in pnl.accounts:
        return
    position = state.positions.get(account, symbol)
    earned = position.realised if position is not None else ZERO
    fees = position.fees if position is not None else ZERO
    seen = state.books.seen.setdefault(account, {}).setdefault(symbol, Seen())
    currency = state.instruments[symbol].currency
    if earned != seen.realised:
        pnl.earn(account, Money(canonical(earned - seen.realised), currency), state.fx_rates)
    if fees != seen.fees:
        pnl.charge(account, Money(canonical(fees - seen.fees), currency), state.fx_rates)
    seen.realised, seen.fees = earned, fees


def earn(state: State, account: str, amount: Money) -> None:
    """Income that is no trade: a dividend."""
    if state.pnl is not None and account in state.pnl.accounts:
        state.pnl.earn(account, amount, state.fx_rates)


def contribute(state: State, account: str, amount: Decimal, currency: Currency) -> None:
    """Capital comes in, or goes out when negative."""
    if amount and state.pnl is not None and account in state.pnl.accounts:
        missing = state.pnl.contribute(account, Money(canonical(amount), currency), state.fx_rates)
        invariant(missing is None, "capital has its rate", missing)
