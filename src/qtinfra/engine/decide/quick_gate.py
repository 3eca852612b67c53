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
from qtinfra.engine.risk_state import MAX_PROFILES, AccountPlace, PlainPass, RiskMemo, RiskState, SymbolPlace
from qtinfra.engine.risk_sums import place_in, place_of
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed
from qtinfra.risk.facts import AccountProfile, SymbolProfile
from qtinfra.risk.ledger import Cell
from qtinfra.risk.limits import combined
from qtinfra.risk.sheet import UNLIMITED, Bound, LimitSheet, Plan, ScopeSheet, sheet_of

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
#: The product of two numbers below this is within the range of what an order may be worth.
_SMALL = Decimal(10) ** 10


def pass_plain(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> PlainPass | None:
    """The approval of a new order that plainly keeps all rules and passes all controls; else None.

    It keeps the rules when it is a plain one of numbers that they have passed before.
    """
    price, qty, name = command.price, command.qty, command.cl_ord_id
    memo, tif = state.risk.memo, command.tif
    of = memo.accounts.get(command.account)
    plan = of.plans.get(command.symbol) if of is not None else None
    if of is None or plan is None or command.order_type is not (_MARKET if price is None else _LIMIT):
        return None
    if not (qty.is_finite() and (price is None or price.is_finite())):
        return None
    fits = plan.fits
    known_price, known_qty = fits.prices.get(price) if price is not None else None, fits.sizes.get(qty)
    keeps = (
        (known_price is price or (price is not None and _alike(known_price, price)))
        and (known_qty is qty or _alike(known_qty, qty))
        and (tif is _DAY or tif is _IOC or tif in WORKED_TIF)
        and not command.min_qty
        and command.special is None
        and command.algo is None
        and 0 < len(name) <= ID_LIMIT
        and name.isascii()
        and name.isprintable()
        and not (state.halted and command.symbol in state.halted)
        and (not state.calendars or in_known_hours(state, command, of, fits, now_ns))
    )
    return _passes(state, memo, market, command, now_ns, of, plan) if keeps else None


def _alike(known: Decimal | None, number: Decimal) -> bool:
    """Whether a number that equals a known one is written with as many places too."""
    return known is not None and known.same_quantum(number)


def gate_new(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> RiskPassed | RiskRefused:
    """Run every control on a plain new order: in one pass where it plainly passes, else one by one."""
    passed = plainly_passes(state, market, command, now_ns)
    if passed is not None:
        return approval(command, passed.reference)
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
    of = memo.accounts.get(command.account)
    if of is None:
        return None
    plan = of.plans.get(command.symbol) or _new_plan(state, command, of)
    return _passes(state, memo, market, command, now_ns, of, plan) if plan is not None else None


def note_fit(state: State, command: SubmitOrder, instrument: Instrument) -> None:
    """Remember the numbers of an order that keeps the rules: the same few come again and again."""
    price, qty = command.price, command.qty
    to = state.risk.memo.symbols.get(command.symbol)
    if to is None or not (instrument.odd_lots and qty < _SMALL and (price is None or price < _SMALL)):
        return
    fits = to.fits
    if max(len(fits.sizes), len(fits.prices)) >= MAX_FITS:
        fits.sizes.clear()
        fits.prices.clear()
    fits.sizes[qty] = qty
    if price is not None:
        fits.prices[price] = price


# --- the controls -----------------------------------------------------------------------------------------


def _passes(
    state: State,
    memo: RiskMemo,
    market: MarketView,
    command: SubmitOrder,
    now_ns: int,
    of: AccountProfile,
    plan: Plan,
) -> PlainPass | None:
    price, qty, sheet, symbol, risk = command.price, command.qty, plan.sheet, command.symbol, state.risk
    if not (of.free and plan.free and qty <= sheet.order_qty):
        return None
    if not (memo.traders.get(command.trader) or _free_trader(state, command.trader)):
        return None
    place = memo.of_accounts.get(command.account) or place_of(state, command.account)
    to = memo.of_symbols.get(symbol) or place_in(state, symbol)
    if not _within_messages(risk, command, now_ns, place, to, sheet):
        return None
    buying, reference, worth, book, flow = command.side is _BUY, None, price, None, None
    if sheet.duplicates is not None:
        flow = (command.account, symbol, "BUY" if buying else command.side._value_, qty, price)
        current, previous = risk.flow.current, risk.flow.previous
        if flow in current or (previous and flow in previous):
            since = now_ns - risk.policy.duplicate_window_ns
            if risk.flow.seen(flow, since) >= sheet.duplicates:
                return None
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
    if value > sheet.order_value:
        return None
    cells = place.cells
    cell = (cells.get(symbol) if cells is not None else risk.cell(command.account, symbol)) or _NO_CELL
    short = plan.short_sale and not buying and not _owned(command, cell)
    if short or not _within_position(command, sheet, of, cell, value):
        return None
    return PlainPass(place, to, reference, worth, value, book, flow)


def _within_messages(
    risk: RiskState, command: SubmitOrder, now_ns: int, of: AccountPlace, to: SymbolPlace, sheet: LimitSheet
) -> bool:
    """Messages of the account and to the book, within their window."""
    since = now_ns - risk.policy.message_window_ns
    stamps, most = of.messages, sheet.messages
    if stamps is None:
        stamps = of.messages = risk.messages.get(command.account)
    if stamps is not None and len(stamps) >= most and stamps[-most] > since:
        return False
    stamps, most = to.messages, sheet.book_messages
    if stamps is None:
        stamps = to.messages = risk.book_messages.get(command.symbol)
    return stamps is None or len(stamps) < most or stamps[-most] <= since


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
    command: SubmitOrder, sheet: LimitSheet, of: AccountProfile, cell: Cell, value: Decimal
) -> bool:
    """Position, concentration, exposure and credit of account, client and firm with the order in full.

    The order's value is within the account's limit for one order: that has been compared before.
    """
    buying = command.side is _BUY
    reach = cell.position + cell.buy if buying else cell.sell - cell.position
    if reach > sheet.clear_position and reach + command.qty > sheet.position:
        return False
    near = cell.gross > sheet.clear_worth
    for scope in of.scopes:
        if scope.foreign:
            return False
        home = scope.home
        if home.gross > scope.clear_gross or home.traded > scope.clear_traded:
            near = True
    return not near or _within_exposure(cell, sheet, of.scopes, buying, value)


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


def _new_plan(state: State, command: SubmitOrder, of: AccountProfile) -> Plan | None:
    """The plan of the account's kind in the symbol; None while nothing is gathered about the symbol."""
    memo = state.risk.memo
    to = memo.symbols.get(command.symbol)
    if to is None or not of.free:
        return None
    memo.made += 1
    if memo.made > MAX_SHEETS:
        for plans in memo.kinds.values():
            plans.clear()
        memo.made = 1
    plan = of.plans[command.symbol] = _plan(state, command, of, to)
    return plan


def _plan(state: State, command: SubmitOrder, of: AccountProfile, to: SymbolProfile) -> Plan:
    limits = combined(state.limits, command.account, command.symbol, of.limits, to.limits)
    sheet = sheet_of(limits)
    return Plan(
        to.free and not sheet.closed,
        sheet,
        to.short_sale,
        to.fits,
        Bound(),
        Bound(),
    )


def _free_trader(state: State, trader: str) -> bool:
    """Whether no kill switch is on the trader and no approval is missing."""
    known = state.risk.memo.traders
    if len(known) >= MAX_TRADERS:
        known.clear()
    killed = trader != "" and kill_key(KillScope.TRADER, trader) in state.kills
    free = known[trader] = not killed and not unapproved(state, trader, "")
    return free
