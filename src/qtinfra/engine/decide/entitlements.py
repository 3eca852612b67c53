"""What a corporate action does to positions, at the open of its ex-date: income, and scaled quantities.

What counts is what was held before the first trade of the ex-date. Each entitlement is an event of its own
with all its figures, so that whoever reads the journal sees what was paid on what.

Source: FINRA Rule 11140 (ex-dates); 17 CFR 240.10b-17 (what issuers announce).
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.book_events import ActionSettled, IncomePosted, PositionScaled, SharesSplit
from qtinfra.core.commands import ActionKind
from qtinfra.core.decimals import ONE, ZERO, canonical, quotient
from qtinfra.core.events import BreakRaised
from qtinfra.core.market import MarketView
from qtinfra.engine.book_state import PendingAction
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.scaling import scaled
from qtinfra.engine.state import State
from qtinfra.positions.fees import to_minor_unit


def settle_actions(state: State, now_ns: int, market: MarketView, out: Decision) -> None:
    """Follow-up: apply the actions whose ex-date has come, of each symbol the first; then what is left."""
    due: dict[str, str] = {}
    again = False
    for action_id, action in state.books.actions.items():
        if action.ex_date > state.trade_date:
            continue
        if action.symbol in due:
            again = True
            continue
        due[action.symbol] = action_id
        if action.kind is ActionKind.CASH_DIVIDEND:
            _pay(state, action_id, action, out)
        else:
            _scale(state, action_id, action, out)
        out.add(ActionSettled(action_id))
    if again:
        out.then(settle_actions)


def _holders(state: State, symbol: str) -> list[str]:
    """The accounts that have or had a position."""
    return [account for account, by_symbol in state.positions.accounts.items() if symbol in by_symbol]


def _pay(state: State, action_id: str, action: PendingAction, out: Decision) -> None:
    instrument = state.instruments[action.symbol]
    for account in _holders(state, action.symbol):
        qty = state.positions.held_before(account, action.symbol, action.ex_date)
        amount = to_minor_unit(qty * action.amount, instrument.currency)
        if amount:
            out.add(
                IncomePosted(
                    action_id,
                    account,
                    action.symbol,
                    action.ex_date,
                    qty,
                    action.amount,
                    instrument.currency,
                    amount,
                )
            )


def _scale(state: State, action_id: str, action: PendingAction, out: Decision) -> None:
    symbol, num, den = action.symbol, action.ratio_num, action.ratio_den
    before = state.reference_prices.get(symbol)
    reference = scaled(before, den, num) if before is not None else None
    out.add(SharesSplit(action_id, symbol, action.ex_date, num, den, reference))
    for account in _holders(state, symbol):
        _scale_position(state, account, action_id, action, reference, out)


def _scale_position(
    state: State,
    account: str,
    action_id: str,
    action: PendingAction,
    reference: Decimal | None,
    out: Decision,
) -> None:
    """Whole units stay; a fraction is paid at the reference price, or kept, with a break, without one."""
    symbol, num, den = action.symbol, action.ratio_num, action.ratio_den
    position = state.positions.get(account, symbol)
    held = state.positions.held_before(account, symbol, action.ex_date)
    since = position.qty - held if position is not None else ZERO
    after = canonical(quotient(held * num, den))
    fraction = canonical(after % min(ONE, state.instruments[symbol].lot_size))
    px = reference
    if fraction and px is None:
        text = f"{account} has a fraction of {symbol} after {action_id} and there is no reference price"
        out.add(BreakRaised("cash_in_lieu", "", f"{account} {symbol}"[:60], text))
    if px is None:
        fraction = px = ZERO
    qty = canonical(after - fraction + since)
    out.add(PositionScaled(action_id, account, symbol, action.ex_date, num, den, qty, fraction, px))
