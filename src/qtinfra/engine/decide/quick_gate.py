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
from qtinfra.engine.decide.routing import met_first, top_of
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.risk_state import (
    MAX_PROFILES,
    REFERENCE,
    AccountPlace,
    Bound,
    PlainPass,
    Plan,
    RiskState,
    SymbolPlace,
)
from qtinfra.engine.risk_sums import place_in, place_of, scope_keys, totals_of
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed
from qtinfra.risk.ledger import Amounts, Cell, FlowKey, Stamps, Sums
from qtinfra.risk.limits import combined
from qtinfra.risk.sheet import UNLIMITED, Fits, LimitSheet, Numbers, sheet_of

#: Plans remembered, over all kinds of accounts; when there are more they are all made anew.
MAX_SHEETS = MAX_PROFILES
#: Traders remembered; when there are more they are all looked up anew.
MAX_TRADERS = 10_000
#: Prices, and sizes, remembered of a symbol; when there are more they are all looked at anew.
MAX_FITS = 256

_BUY, _SELL = OrderSide.BUY, OrderSide.SELL
_DAY, _IOC = TimeInForce.DAY, TimeInForce.IOC
_LIMIT, _MARKET = OrderType.LIMIT, OrderType.MARKET
#: What is said of an order: a PlainPass of a plain one that plainly keeps all rules and passes all controls.
Verdict = PlainPass | RiskPassed | RiskRefused

_NO_CELL = Cell()
_NO_STAMPS: list[int] = []
#: The product of two numbers below this is within the range of what an order may be worth.
_SMALL = Decimal(10) ** 10


def gate_plain(
    state: State, market: MarketView, command: SubmitOrder, now_ns: int, of: AccountPlace, plan: Plan,
    kept: bool,
) -> Verdict | None:  # fmt: skip
    """What rules and controls say of an order, compared with its plan in one pass: a PlainPass where nothing
    can be wrong. Where a control has to look closer they all do; where a rule has to it is None.

    Args:
        kept: the order is known to keep all rules, and the plan is a free one.
    """
    price, qty, name = command.price, command.qty, command.cl_ord_id
    symbol, buying, tif = command.symbol, command.side is _BUY, command.tif
    bound, fits = plan.buying if buying else plan.selling, plan.fits
    try:
        known = bound.values.get(qty) if price is bound.within else None
    except TypeError:  # a signalling NaN has no hash
        return None
    again = known is not None and known[0] is qty
    if not kept and not (
        (0 < len(name) <= ID_LIMIT and name.isascii() and name.isprintable())
        and (again or ((price is bound.within or _fits(fits.prices, price)) and _fits(fits.sizes, qty)))
        and command.order_type is (_MARKET if price is None else _LIMIT)
        and (tif is _DAY or tif is _IOC or tif in WORKED_TIF)
        and not (command.min_qty or command.special or command.algo)
        and not (state.halted and symbol in state.halted)
        and (not state.calendars or in_known_hours(state, command, of.at_home, fits, now_ns))
    ):
        return None
    risk, worth, reference = state.risk, price, None
    memo, top, flow = risk.memo, None, None
    stamps, old = None, None
    to, sheet = plan.to, plan.sheet
    if price is None or sheet.collared:
        book, drift = market.book(symbol), to.drift or risk.drift.get(symbol)
        anchor = (drift.lows if buying else drift.highs)[0][1] if drift is not None else None
        if bound.book is not book or bound.anchor is not anchor or bound.opened is not memo.opened:
            _rebind(state, symbol, sheet, bound, book, anchor, buying, now_ns)
        if price is not bound.within:
            worth = _in_collars(bound, fits, price, buying)
        reference = bound.reference
        top = bound.top if price is bound.within or price is None else None
    if worth is None:
        return gate_one_by_one(state, market, command, now_ns)
    value = _value(qty, worth, to) if known is None or not again else known[1]
    cell = of.cells.get(symbol) if of.cells is not None else risk.cell(command.account, symbol)
    at, seen = cell if cell is not None else _NO_CELL, risk.flow
    held, opened = at.position, at.buy if buying else at.sell
    reach = held if opened is ZERO else held + opened if buying else held - opened
    near = at.gross > sheet.clear_worth or (reach > sheet.most_long if buying else reach < sheet.most_short)
    if not (near or of.standing.clear):
        near = _is_near(of)
    if sheet.duplicates is not None:
        flow = (of.account, symbol, "BUY" if buying else command.side._value_, qty, price)
        stamps, old = seen.current.get(flow), seen.previous.get(flow) if seen.previous else None
    own = of.messages or risk.messages.get(command.account) or _NO_STAMPS
    on_book = to.messages or risk.book_messages.get(symbol) or _NO_STAMPS
    if (
        (not again and (qty > sheet.order_qty or value > sheet.order_value))
        or not (memo.traders.get(command.trader) or _free_trader(state, command.trader))
        or (len(own) >= sheet.messages and _is_full(risk, own, sheet.messages, now_ns))
        or (len(on_book) >= sheet.book_messages and _is_full(risk, on_book, sheet.book_messages, now_ns))
        or ((stamps is not None or old is not None) and _is_repeated(risk, flow, stamps, old, sheet, now_ns))
        or (plan.short_sale and not buying and not _owned(command, at))
        or ((near or of.foreign) and not _in_limits(buying, qty, value, sheet, of, at))
    ):
        return gate_one_by_one(state, market, command, now_ns)
    if not (again or kept) and price is bound.within:
        _note_value(bound, qty, value)
    top = top if reference is not None else met_first(state, market, symbol, price, buying)
    return of, to, reference, worth, value, top, flow, stamps, cell


def _value(qty: Decimal, worth: Decimal, to: SymbolPlace) -> Decimal:
    return qty * worth if to.factor is None else qty * worth * to.factor


def _note_value(bound: Bound, qty: Decimal, value: Decimal) -> None:
    """Remember what a size that keeps the rules and the limits on one order is worth at the last limit."""
    if len(bound.values) >= MAX_FITS:
        bound.values.clear()
    bound.values[qty] = qty, value


def _fits(known: Numbers, number: Decimal | None) -> bool:
    """Whether the rules have passed the number, written with as many places. The newest object of its kind is
    kept: the one that the next order is likely to have.
    """
    if number is not None and number.is_snan():  # it has no hash
        return False
    equal = known.get(number)
    if equal is number:
        return True
    if equal is None or number is None or not equal.same_quantum(number):
        return False
    known[number] = number
    return True


def _in_collars(bound: Bound, fits: Fits, price: Decimal | None, buying: bool) -> Decimal | None:
    """What a unit is worth if the collars let the price pass. A limit that takes the first offer is kept, if
    no rule has to look at it each time; where routing looks for itself, one that does not take it too.
    """
    worth = price if price is not None else bound.reference
    if bound.reference is None or worth is None or (worth > bound.price if buying else worth < bound.price):
        return None
    top = bound.top
    if price is not None and (top is None or top.takes(price, buying)) and _fits(fits.prices, price):
        bound.within = price
        bound.values.clear()
    return worth


def _is_full(risk: RiskState, stamps: list[int], most: int, now_ns: int) -> bool:
    """Whether so many messages as the limit allows are within the window."""
    return stamps[-most] > now_ns - risk.policy.message_window_ns


def _is_repeated(
    risk: RiskState,
    flow: FlowKey | None,
    stamps: Stamps | None,
    earlier: Stamps | None,
    sheet: LimitSheet,
    now_ns: int,
) -> bool:
    """Whether as many equal orders as the limit allows came within the window.

    Args:
        stamps, earlier: when such orders came, in both generations; of a few there are not as many.
    """
    most = sheet.duplicates
    if flow is None or most is None or _count(stamps) + _count(earlier) < most:
        return False
    return risk.flow.seen(flow, now_ns - risk.policy.duplicate_window_ns) >= most


def _count(stamps: Stamps | None) -> int:
    return 0 if stamps is None else len(stamps) if type(stamps) is list else 1


def gate_kept(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> Verdict:
    """Run every control on a plain new order that keeps the rules: in one pass where it plainly passes."""
    memo = state.risk.memo
    of = memo.of_accounts.get(command.account)
    plans = of.plans if of is not None else None
    if of is None or plans is None:
        of = _gather(state, command.account)
        plans = of.plans if of is not None else None
    plan = None
    if plans is not None:
        plan = plans.get(command.symbol) or _new_plan(state, command, plans)
    if of is None or plan is None or not plan.free:
        return gate_one_by_one(state, market, command, now_ns)
    verdict = gate_plain(state, market, command, now_ns, of, plan, True)
    return verdict or gate_one_by_one(state, market, command, now_ns)


def gate_new(state: State, market: MarketView, command: SubmitOrder, now_ns: int) -> RiskPassed | RiskRefused:
    """As `gate_kept`, with an approval that anything may be done with."""
    verdict = gate_kept(state, market, command, now_ns)
    return approval(command, verdict[REFERENCE]) if isinstance(verdict, tuple) else verdict


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


# --- the collars and limits --------------------------------------------------------------------------------


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
    """Find the last price that the collars let pass, for all orders of the side that see the same book, and
    what such an order meets first.

    The period's extreme, `anchor`, binds here even when it has just left the window: the control itself looks
    closer. A reference that is not the book's own is found anew for every order.
    """
    reference = reference_in(state, book, symbol, now_ns)
    lasts = book is not None and view_of(state, book).mid is not None
    bound.book, bound.anchor, bound.opened = book, anchor, state.risk.memo.opened if lasts else None
    bound.reference, bound.within = reference, UNLIMITED
    bound.top = top_of(state, book, buying) if book is not None and state.routing is None else None
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


def _is_near(of: AccountPlace) -> bool:
    """Whether a single order of the account could reach a limit on its sums or those above."""
    clear = of.standing.clear
    if clear is None:
        limits = [(sheet.home, sheet.clear_gross, sheet.clear_traded) for sheet in of.scopes]
        clear = of.standing.note_clear(limits)
    if clear:
        return False
    for sheet in of.scopes:
        bounds = sheet.home.bounds
        if bounds.gross > sheet.clear_gross or bounds.traded > sheet.clear_traded:
            return True
    return False


def _in_limits(
    buying: bool, qty: Decimal, value: Decimal, sheet: LimitSheet, of: AccountPlace, cell: Cell
) -> bool:
    """Position, concentration, exposure and credit of account, client and firm with the order in full,
    computed: an order could reach a limit from here.

    The order's value is within the account's limit for one order: that has been compared before.
    """
    reach = cell.position + cell.buy if buying else cell.sell - cell.position
    worst = abs((cell.long if buying else cell.short) + value)
    adds = worst - cell.gross
    if of.foreign or reach + qty > sheet.position or (adds > ZERO and worst > sheet.concentration):
        return False
    most = max(adds, value)
    for scope in of.scopes:
        home, bounds = scope.home, scope.home.bounds
        if (
            bounds.gross + most <= min(scope.gross, scope.net)
            and bounds.traded + bounds.gross + bounds.gross + most <= scope.credit
        ):
            continue  # the sums themselves need not be asked for
        if home.used + value > scope.credit or (home.long if buying else home.short) + value > scope.net:
            return False
        if adds > ZERO and home.gross + adds > scope.gross:
            return False
    return True


# --- what is remembered until a control changes -----------------------------------------------------------


def _gather(state: State, account: str) -> AccountPlace | None:
    """The account's place with plans, none of them yet; None while nothing is gathered about the account, or
    every order needs a closer look.
    """
    risk = state.risk
    memo = risk.memo
    known = memo.accounts.get(account)
    if known is None or not known.free:
        return None
    limits, scopes = known.limits, known.scopes
    foreign: Mapping[str, Amounts | Sums] = {}
    for key in scope_keys(state, account):
        sums = totals_of(state, key).foreign
        if any(scope.foreign is sums for scope in scopes):
            foreign = sums
    of = memo.of_accounts.get(account) or place_of(state, account)
    of.at_home, of.scopes, of.foreign = known.at_home, scopes, foreign
    of.plans = memo.kinds.setdefault((limits.values, limits.capital, limits.messages), {})
    of.standing.clear = None
    return of


def _new_plan(state: State, command: SubmitOrder, plans: dict[str, Plan]) -> Plan | None:
    """The plan of the account's kind in the symbol; None while nothing is gathered about the symbol."""
    memo, symbol = state.risk.memo, command.symbol
    of, known = memo.accounts[command.account], memo.symbols.get(symbol)
    if known is None:
        return None
    memo.made += 1
    if memo.made > MAX_SHEETS:
        for made in memo.kinds.values():
            made.clear()
        memo.made = 1
    sheet = sheet_of(combined(state.limits, command.account, symbol, of.limits, known.limits))
    free = known.free and not sheet.closed
    to, fits = memo.of_symbols.get(symbol) or place_in(state, symbol), known.fits if free else Fits()
    plan = plans[symbol] = Plan(free, sheet, known.short_sale, to, fits, Bound(), Bound())
    return plan


def _free_trader(state: State, trader: str) -> bool:
    """Whether no kill switch is on the trader and no approval is missing."""
    known = state.risk.memo.traders
    if len(known) >= MAX_TRADERS:
        known.clear()
    killed = trader != "" and kill_key(KillScope.TRADER, trader) in state.kills
    free = known[trader] = not killed and not unapproved(state, trader, "")
    return free
