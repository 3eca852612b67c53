"""The short way through the risk gate: an approval for what plainly passes every control.

There are two readers of the controls. This one takes a plain new order with a limit price, compares it with
every limit in one pass and gives up on anything that a control might refuse or that needs a closer look (a
restricted list, a foreign currency, a sale of more than is owned where Regulation SHO binds, limits of an
account in single symbols). The controls themselves, in `risk.checks`, then decide and word the refusal.
Whatever this one approves, they approve with the same result: a test compares the two on random limits,
states and orders.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import RiskRefused
from qtinfra.core.extended_models import KillScope
from qtinfra.core.market import MarketView
from qtinfra.core.models import OrderSide
from qtinfra.engine.decide.risk_gate import gate, reference_in, unapproved
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.risk_state import MAX_PROFILES
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed
from qtinfra.risk.facts import AccountProfile, SymbolProfile
from qtinfra.risk.ledger import Cell
from qtinfra.risk.limits import combined
from qtinfra.risk.sheet import LimitSheet, sheet_of

#: Sheets of limits remembered, over all symbols; when there are more they are all made anew.
MAX_SHEETS = MAX_PROFILES
#: Traders remembered; when there are more they are all looked up anew.
MAX_TRADERS = 10_000

_BUY, _SELL = OrderSide.BUY, OrderSide.SELL
_NO_CELL = Cell()
_NO_CELLS: dict[str, Cell] = {}


def gate_new(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> RiskPassed | RiskRefused:
    """Run every control on a plain new order: in one pass where it plainly passes, else one by one."""
    passed = plainly_passes(state, market, command, now_ns)
    if passed is not None:
        return passed
    return gate(
        state,
        market,
        account=command.account,
        trader=command.trader,
        symbol=command.symbol,
        side=command.side,
        order_type=command.order_type,
        tif=command.tif,
        qty=command.qty,
        adds=command.qty,
        price=command.price,
        min_qty=command.min_qty,
        now_ns=now_ns,
    )


def plainly_passes(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> RiskPassed | None:
    """The approval when no control can refuse; None when the controls have to look."""
    memo = state.risk.memo
    account, symbol, price = command.account, command.symbol, command.price
    of, to = memo.accounts.get(account), memo.symbols.get(symbol)
    if of is None or to is None or price is None or not (of.free and to.free):
        return None
    sheet = to.sheets.get(of.kind) or _sheet(state, account, symbol, of, to)
    if sheet.closed or not (memo.traders.get(command.trader) or _free_trader(state, command.trader)):
        return None
    qty = command.qty
    value = qty * price * to.multiplier
    if qty > sheet.order_qty or value > sheet.order_value:
        return None
    if not _within_windows(state, command, sheet, to.book_key, now_ns):
        return None
    reference = None
    if sheet.collar or sheet.period_collar:
        reference = reference_in(state, market.book(symbol), symbol, now_ns)
        if reference is None or not _within_collars(state, command, price, sheet, reference, now_ns):
            return None
    cell = state.risk.cells.get(account, _NO_CELLS).get(symbol, _NO_CELL)
    if to.short_sale and command.side is not _BUY and not _owned(command, cell):
        return None
    if not _within_position(command, sheet, of, cell, value):
        return None
    return RiskPassed(
        account, symbol, command.side, command.order_type, command.tif, qty, price, command.min_qty, reference
    )


def _within_windows(
    state: State, command: SubmitOrder, sheet: LimitSheet, book_key: str, now_ns: int
) -> bool:
    """Messages of the account and to the book, and equal orders, within their windows."""
    risk = state.risk
    since = now_ns - risk.policy.message_window_ns
    stamps = risk.messages.get(command.account)
    if stamps is not None and len(stamps) >= sheet.messages and stamps[-sheet.messages] > since:
        return False
    stamps = risk.messages.get(book_key)
    if stamps is not None and len(stamps) >= sheet.book_messages and stamps[-sheet.book_messages] > since:
        return False
    if sheet.duplicates is None:
        return True
    key = (command.account, command.symbol, command.side, command.qty, command.price)
    return risk.flow.seen(key, now_ns - risk.policy.duplicate_window_ns) < sheet.duplicates


def _within_collars(
    state: State, command: SubmitOrder, price: Decimal, sheet: LimitSheet, reference: Decimal, now_ns: int
) -> bool:
    """The price against the reference now, and against the reference's extreme in the period."""
    buying = command.side is _BUY
    if sheet.collar and (
        price > reference * sheet.collar_up if buying else price < reference * sheet.collar_down
    ):
        return False
    if not sheet.period_collar:
        return True
    drift = state.risk.drift.get(command.symbol)
    if drift is None:
        return True
    since = now_ns - state.risk.policy.drift_window_ns
    if buying:
        low = drift.low(since)
        return low is None or price <= low * sheet.period_up
    high = drift.high(since)
    return high is None or price >= high * sheet.period_down


def _owned(command: SubmitOrder, cell: Cell) -> bool:
    """Whether the order is a plain sale of what the account has and does not offer already."""
    return command.side is _SELL and command.qty <= cell.position - cell.sell


def _within_position(
    command: SubmitOrder, sheet: LimitSheet, of: AccountProfile, cell: Cell, value: Decimal
) -> bool:
    """Position, concentration, exposure and credit of account, client and firm with the order in full.

    The order's value is within the account's limit for one order: that has been compared before.
    """
    buying = command.side is _BUY
    if buying:
        if cell.position + cell.buy + command.qty > sheet.position:
            return False
        worst = abs(cell.long + value)
    else:
        if cell.sell + command.qty - cell.position > sheet.position:
            return False
        worst = abs(cell.short + value)
    adds = worst - cell.gross
    if worst > sheet.concentration and adds > ZERO:
        return False
    for scope in of.scopes:
        home = scope.home
        if scope.foreign:
            return False
        if home.gross <= scope.clear_gross and home.traded <= scope.clear_traded:
            continue
        net = home.long if buying else home.short
        if home.used + value > scope.credit or net + value > scope.net:
            return False
        if adds > ZERO and home.gross + adds > scope.gross:
            return False
    return True


# --- what is remembered until a control changes -----------------------------------------------------------


def _sheet(state: State, account: str, symbol: str, of: AccountProfile, to: SymbolProfile) -> LimitSheet:
    memo = state.risk.memo
    memo.made += 1
    if memo.made > MAX_SHEETS:
        for profile in memo.symbols.values():
            profile.sheets.clear()
        memo.made = 1
    limits = combined(state.limits, account, symbol, of.limits, to.limits)
    sheet = to.sheets[of.kind] = sheet_of(limits)
    return sheet


def _free_trader(state: State, trader: str) -> bool:
    """Whether no kill switch is on the trader and no approval is missing."""
    known = state.risk.memo.traders
    if len(known) >= MAX_TRADERS:
        known.clear()
    killed = trader != "" and kill_key(KillScope.TRADER, trader) in state.kills
    free = known[trader] = not killed and not unapproved(state, trader, "")
    return free
