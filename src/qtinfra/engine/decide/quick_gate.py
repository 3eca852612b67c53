"""The short way of a plain new order: an approval for what plainly keeps every rule and passes every control.

There are two readers of the rules and controls. This one takes a plain limit or market order, compares it
with its plan (`risk.sheet.Plan`, one look-up for everything that is fixed) in one pass and gives up on
anything that a rule or control might refuse or that needs a closer look (numbers not seen before, a
restricted list, a foreign currency, a sale of more than is owned where Regulation SHO binds, limits of an
account in single symbols). The rules themselves, in `validation.rules`, and the controls, in `risk.checks`,
then decide and word the refusal. Whatever this one approves, they approve with the same result: tests compare
the two on random limits, states and orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.decisions import RiskRefused
from qtinfra.core.extended_models import Instrument, KillScope
from qtinfra.core.market import ConsolidatedBook, MarketView
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.validation.rules import ID_LIMIT, WORKED_TIF
from qtinfra.engine.decide.context import in_known_hours
from qtinfra.engine.decide.risk_gate import gate, reference_in, unapproved, view_of
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.risk_state import MAX_PROFILES, Lane, PlainPass, Plan, RiskMemo
from qtinfra.engine.risk_sums import place_in, place_of, scope_keys
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed
from qtinfra.risk.ledger import Amounts, Cell
from qtinfra.risk.limits import combined
from qtinfra.risk.sheet import UNLIMITED, Bound, Fits, LimitSheet, Numbers, ScopeSheet, sheet_of

#: Plans remembered, over all kinds of accounts; when there are more they are all made anew.
MAX_SHEETS = MAX_PROFILES
#: Traders remembered; when there are more they are all looked up anew.
MAX_TRADERS = 10_000
#: Prices, and sizes, remembered of a symbol; when there are more they are all looked at anew.
MAX_FITS = 256

_BUY, _SELL = OrderSide.BUY, OrderSide.SELL
_DAY, _IOC = TimeInForce.DAY, TimeInForce.IOC
_LIMIT, _MARKET = OrderType.LIMIT, OrderType.MARKET
_NO_CELL = Cell()
_NO_STAMPS: list[int] = []
#: The product of two numbers below this is within the range of what an order may be worth.
_SMALL = Decimal(10) ** 10


def keeps_rules(state: State, command: SubmitOrder, lane: Lane, plan: Plan, now_ns: int) -> bool:
    """Whether an order plainly keeps all rules: a plain one, of numbers that they have passed before."""
    price, qty, fits = command.price, command.qty, plan.fits
    name, tif = command.cl_ord_id, command.tif
    try:
        known_price, known_qty = fits.prices.get(price), fits.sizes.get(qty)
    except TypeError:  # a signalling NaN has no hash
        return False
    return (
        (known_price is price or _alike(fits.prices, known_price, price))
        and (known_qty is qty or _alike(fits.sizes, known_qty, qty))
        and command.order_type is (_MARKET if price is None else _LIMIT)
        and (tif is _DAY or tif is _IOC or tif in WORKED_TIF)
        and not command.min_qty
        and command.special is None
        and command.algo is None
        and name != ""
        and len(name) <= ID_LIMIT
        and name.isascii()
        and name.isprintable()
        and not (state.halted and command.symbol in state.halted)
        and (not state.calendars or in_known_hours(state, command, lane.at_home, fits, now_ns))
    )


def _alike(known: Numbers, equal: Decimal | None, number: Decimal | None) -> bool:
    """Whether a number that equals a known one is written with as many places too. The newest object of its
    kind is kept: the one that the next order is likely to have.
    """
    if equal is None or number is None or not equal.same_quantum(number):
        return False
    known[number] = number
    return True


def gate_new(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> RiskPassed | RiskRefused:
    """Run every control on a plain new order: in one pass where it plainly passes, else one by one."""
    passed = plainly_passes(state, market, command, now_ns)
    if passed is not None:
        return approval(command, passed.reference)
    return gate_one_by_one(state, market, command, now_ns)


def gate_one_by_one(
    state: State, market: MarketView, command: SubmitOrder, now_ns: int
) -> RiskPassed | RiskRefused:
    """Run every control on a plain new order, one after the other."""
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
        min_qty=command.min_qty or ZERO,
        now_ns=now_ns,
    )


def approval(command: SubmitOrder, reference: Decimal | None) -> RiskPassed:
    """What the controls say of an order that they let pass without an override."""
    return RiskPassed(
        command.account,
        command.symbol,
        command.side,
        command.order_type,
        command.tif,
        command.qty,
        command.price,
        command.min_qty or ZERO,
        reference,
    )


def plainly_passes(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> PlainPass | None:
    """The approval of an order that keeps the rules when no control can refuse; else None."""
    memo = state.risk.memo
    lane = memo.lanes.get(command.account) or _new_lane(state, command.account)
    if lane is None:
        return None
    plan = lane.plans.get(command.symbol) or _new_plan(state, command, lane)
    if plan is None or not plan.free:
        return None
    return pass_controls(state, memo, market, command, now_ns, lane, plan)


def note_fit(state: State, command: SubmitOrder, instrument: Instrument) -> bool:
    """Remember the numbers of an order that keeps the rules: the same few come again and again.

    Returns:
        False when orders of such numbers have to be looked at each time.
    """
    price, qty = command.price, command.qty
    to = state.risk.memo.symbols.get(command.symbol)
    if to is None or not (instrument.odd_lots and qty < _SMALL and (price is None or price < _SMALL)):
        return False
    if not (ZERO + qty).same_quantum(qty):
        return False
    fits = to.fits
    if max(len(fits.sizes), len(fits.prices)) >= MAX_FITS:
        fits.sizes.clear()
        fits.prices.clear()
    fits.sizes[qty] = qty
    if price is not None:
        fits.prices[price] = price
    return True


# --- the controls -----------------------------------------------------------------------------------------


def pass_controls(
    state: State,
    memo: RiskMemo,
    market: MarketView,
    command: SubmitOrder,
    now_ns: int,
    lane: Lane,
    plan: Plan,
) -> PlainPass | None:
    """The approval of an order that keeps the rules, compared with its plan, which is a free one; None when a
    control has to look closer.
    """
    price, qty, symbol = command.price, command.qty, command.symbol
    of, to, sheet = lane.of, plan.to, plan.sheet
    risk, buying = state.risk, command.side is _BUY
    if qty > sheet.order_qty or not (memo.traders.get(command.trader) or _free_trader(state, command.trader)):
        return None
    own = of.messages or risk.messages.get(command.account) or _NO_STAMPS
    on_book = to.messages or risk.book_messages.get(symbol) or _NO_STAMPS
    most, most_on_book = sheet.messages, sheet.book_messages
    if (len(own) >= most and own[-most] > now_ns - risk.policy.message_window_ns) or (
        len(on_book) >= most_on_book and on_book[-most_on_book] > now_ns - risk.policy.message_window_ns
    ):
        return None
    flow = None
    if sheet.duplicates is not None:
        flow = (command.account, symbol, "BUY" if buying else command.side._value_, qty, price)
        seen = risk.flow
        again = flow in seen.current
        if (again or (seen.previous and flow in seen.previous)) and (
            seen.seen(flow, now_ns - risk.policy.duplicate_window_ns) >= sheet.duplicates
        ):
            return None
        if again:
            flow = None
    worth, reference, book = price, None, None
    if sheet.collared or price is None:
        bound, book = plan.buying if buying else plan.selling, market.book(symbol)
        drift = to.drift or risk.drift.get(symbol)
        anchor = (drift.lows if buying else drift.highs)[0][1] if drift is not None else None
        if book is None or bound.book is not book or bound.anchor is not anchor:
            _rebind(state, symbol, sheet, bound, book, anchor, buying, now_ns)
        reference = bound.reference
        worth = price if price is not None else reference
        if reference is None or worth is None or (worth > bound.price if buying else worth < bound.price):
            return None
    if worth is None:
        return None
    value = qty * worth if to.factor is None else qty * worth * to.factor
    cell = of.cells.get(symbol) if of.cells is not None else risk.cell(command.account, symbol)
    counted = cell or _NO_CELL
    if (
        value > sheet.order_value
        or (plan.short_sale and not buying and not _owned(command, counted))
        or not _within_position(buying, qty, value, sheet, lane, counted)
    ):
        return None
    return PlainPass(of, to, reference, worth, value, book, flow, cell)


def _rebind(
    state: State,
    symbol: str,
    sheet: LimitSheet,
    bound: Bound,
    book: ConsolidatedBook | None,
    anchor: Decimal | None,
    buying: bool,
    now_ns: int,
) -> None:
    """Find the last price that the collars let pass, for all orders of the side that see the same book.

    The period's extreme, `anchor`, binds here even when it has just left the window: the control itself looks
    closer. A reference that is not the book's own is found anew for every order.
    """
    reference = reference_in(state, book, symbol, now_ns)
    lasts = book is not None and view_of(state, book).mid is not None
    bound.book, bound.anchor, bound.reference = book if lasts else None, anchor, reference
    if reference is not None:
        bound.price = _last_price(sheet, reference, anchor, buying)


def _last_price(sheet: LimitSheet, reference: Decimal, anchor: Decimal | None, buying: bool) -> Decimal:
    """The price within the collars that is nearest to the other side's."""
    if buying:
        price = reference * sheet.collar_up if sheet.collar else UNLIMITED
        return min(price, anchor * sheet.period_up) if sheet.period_collar and anchor is not None else price
    price = reference * sheet.collar_down if sheet.collar else -UNLIMITED
    return max(price, anchor * sheet.period_down) if sheet.period_collar and anchor is not None else price


def _owned(command: SubmitOrder, cell: Cell) -> bool:
    """Whether the order is a plain sale of what the account has and does not offer already."""
    return command.side is _SELL and command.qty <= cell.position - cell.sell


def _within_position(
    buying: bool, qty: Decimal, value: Decimal, sheet: LimitSheet, lane: Lane, cell: Cell
) -> bool:
    """Position, concentration, exposure and credit of account, client and firm with the order in full.

    The order's value is within the account's limit for one order: that has been compared before.
    """
    held = cell.position
    if buying:
        reach = held if cell.buy is ZERO else held + cell.buy
    else:
        reach = held.copy_negate() if cell.sell is ZERO else cell.sell - held
    if lane.foreign or (reach > sheet.clear_position and reach + qty > sheet.position):
        return False
    if cell.gross > sheet.clear_worth:
        return _within_exposure(cell, sheet, lane.scopes, buying, value)
    for sums, gross, traded in lane.clear:
        if sums.gross > gross or sums.traded > traded:
            return _within_exposure(cell, sheet, lane.scopes, buying, value)
    return True


def _within_exposure(
    cell: Cell, sheet: LimitSheet, scopes: tuple[ScopeSheet, ...], buying: bool, value: Decimal
) -> bool:
    """Concentration, exposure and credit, computed: an order could reach a limit from here."""
    worst = abs((cell.long if buying else cell.short) + value)
    adds = worst - cell.gross
    if adds > ZERO and worst > sheet.concentration:
        return False
    for scope in scopes:
        home = scope.home
        if home.used + value > scope.credit or (home.long if buying else home.short) + value > scope.net:
            return False
        if adds > ZERO and home.gross + adds > scope.gross:
            return False
    return True


# --- what is remembered until a control changes -----------------------------------------------------------


def _new_lane(state: State, account: str) -> Lane | None:
    """The account's lane; None while nothing is gathered about it, or every order needs a closer look."""
    risk = state.risk
    memo = risk.memo
    known = memo.accounts.get(account)
    if known is None or not known.free:
        return None
    limits, scopes = known.limits, known.scopes
    foreign: Mapping[str, Amounts] = {}
    for key in scope_keys(state, account):
        sums = risk.totals[key].foreign
        if any(scope.foreign is sums for scope in scopes):
            foreign = sums
    lane = memo.lanes[account] = Lane(
        memo.of_accounts.get(account) or place_of(state, account),
        known.at_home,
        memo.kinds.setdefault((limits.values, limits.capital, limits.messages), {}),
        scopes,
        foreign,
        tuple((scope.home, scope.clear_gross, scope.clear_traded) for scope in scopes),
    )
    return lane


def _new_plan(state: State, command: SubmitOrder, lane: Lane) -> Plan | None:
    """The plan of the account's kind in the symbol; None while nothing is gathered about the symbol."""
    memo, symbol = state.risk.memo, command.symbol
    of, known = memo.accounts[command.account], memo.symbols.get(symbol)
    if known is None:
        return None
    memo.made += 1
    if memo.made > MAX_SHEETS:
        for plans in memo.kinds.values():
            plans.clear()
        memo.made = 1
    sheet = sheet_of(combined(state.limits, command.account, symbol, of.limits, known.limits))
    free = known.free and not sheet.closed
    to, fits = memo.of_symbols.get(symbol) or place_in(state, symbol), known.fits if free else Fits()
    plan = lane.plans[symbol] = Plan(free, sheet, known.short_sale, to, fits, Bound(), Bound())
    return plan


def _free_trader(state: State, trader: str) -> bool:
    """Whether no kill switch is on the trader and no approval is missing."""
    known = state.risk.memo.traders
    if len(known) >= MAX_TRADERS:
        known.clear()
    killed = trader != "" and kill_key(KillScope.TRADER, trader) in state.kills
    free = known[trader] = not killed and not unapproved(state, trader, "")
    return free
