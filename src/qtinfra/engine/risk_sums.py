"""What accounts hold and have open, in units and in value: cells by account and symbol, and the sums above.

Part of evolve: only evolve's modules change anything here. A change goes into the cell of its account and
symbol, and from there into the sums of the account, its client and its firm, as far as these are read: see
`risk.ledger.Sums`.
"""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.decimals import ZERO, exact
from qtinfra.core.events import OrderAccepted
from qtinfra.core.extended_models import AckPolicy
from qtinfra.core.models import Order, OrderSide
from qtinfra.engine.keyindex import salt_of
from qtinfra.engine.risk_state import AccountPlace, SymbolPlace
from qtinfra.engine.state import State
from qtinfra.risk.ledger import Cell, Figures, Standing, Totals

# Members by name: looking them up in their class costs more than comparing them.
_BUY = OrderSide.BUY
_ACK_ON_ACCEPT = AckPolicy.ON_ACCEPT


# --- where figures are kept ------------------------------------------------------------------------------


def scope_keys(state: State, account: str) -> tuple[str, str, str]:
    """Where an account's figures are counted: itself, its client, its firm."""
    known = state.accounts[account]
    return account, f"CLIENT:{known.client}", f"FIRM:{known.firm}"


def place_of(state: State, account: str) -> AccountPlace:
    """Where the account's figures are; remembered until a control changes."""
    risk = state.risk
    if not risk.totals:
        _gather(state)
    policies, standing = state.policies(account), _standing(state, account, risk.policy.base_currency.value)
    acks = policies.ack is _ACK_ON_ACCEPT
    found = risk.memo.of_accounts[account] = AccountPlace(
        state.accounts[account].account, acks, bool(policies.self_match), standing, salt_of(account)
    )
    return found


def place_in(state: State, symbol: str) -> SymbolPlace:
    """Where the symbol's figures are; remembered until a control changes."""
    risk, instrument = state.risk, state.instruments[symbol]
    home = instrument.currency is risk.policy.base_currency
    found = risk.memo.of_symbols[symbol] = SymbolPlace(instrument, home, risk.marks.get(symbol))
    return found


def places(state: State, account: str, symbol: str) -> tuple[AccountPlace, SymbolPlace]:
    """Where the figures of the account and of the symbol are."""
    memo = state.risk.memo
    of = memo.of_accounts.get(account) or place_of(state, account)
    return of, memo.of_symbols.get(symbol) or place_in(state, symbol)


def _standing(state: State, account: str, currency: str) -> Standing:
    """The account's figures in a currency, with the sums above them."""
    risk = state.risk
    found = risk.standings.get((account, currency))
    if found is None:
        base, totals = risk.policy.base_currency.value, risk.totals
        own = risk.figures[account].setdefault(currency, Figures())
        sums = totals.setdefault(account, Totals()).sums_in(currency, base, own)
        above = [totals.setdefault(key, Totals()).sums_in(currency, base) for key in risk.members[account]]
        found = risk.standings[account, currency] = Standing(own, sums, tuple(above))
    return found


def _gather(state: State) -> None:
    """Find what the sums are made of."""
    risk = state.risk
    with exact():
        for account, by_currency in risk.figures.items():
            for currency in by_currency:
                _standing(state, account, currency)
    for account, by_symbol in risk.cells.items():
        for symbol, cell in by_symbol.items():
            _standing(state, account, state.instruments[symbol].currency.value).cells.append(cell)


def totals_of(state: State, key: str) -> Totals:
    """The sums of an account, a client ("CLIENT:…") or a firm ("FIRM:…"), live until reference data or the
    trade date change; those of nobody are zero.
    """
    if not state.risk.totals:
        _gather(state)
    return state.risk.totals.get(key) or Totals()


def _cell(state: State, account: str, symbol: str, of: AccountPlace, standing: Standing) -> Cell:
    """The account's cell in the symbol, found or made."""
    risk = state.risk
    if of.cells is None:
        of.cells = risk.cells.setdefault(account, {})
    cell = of.cells.get(symbol)
    if cell is None:
        cell = of.cells[symbol] = Cell()
        standing.cells.append(cell)
        if of.awaiting is not None and symbol in of.awaiting:
            of.awaiting.pop(symbol).cell = cell
    return cell


def figures_of(state: State, order: Order) -> tuple[Cell, Standing, SymbolPlace]:
    """The figures that an order is counted in, noted in it: its account's in its symbol and in its currency;
    and where those of the symbol are.
    """
    account, symbol = order.account, order.symbol
    of, to = places(state, account, symbol)
    standing = order.standing = _standing_in(state, account, of, to)
    cell = order.cell = _cell(state, account, symbol, of, standing)
    return cell, standing, to


def _standing_in(state: State, account: str, of: AccountPlace, to: SymbolPlace) -> Standing:
    """The account's figures in the currency that the symbol trades in."""
    return of.standing if to.home else _standing(state, account, to.instrument.currency.value)


def _shift(standing: Standing, cell: Cell, long: Decimal, short: Decimal) -> None:
    """Note the cell's gross value after a change, and let the sums above follow what became of its ends."""
    own, gross = standing.own, _gross(cell)
    change, cell.gross = gross - cell.gross, gross
    own.gross += change
    if own.gross > standing.gross:
        standing.widen()
    standing.follow(change, long, short, ZERO)


def _gross(cell: Cell) -> Decimal:
    """The larger absolute value of the cell's two outcomes."""
    held, buys, sells = cell.held, cell.buy_value, cell.sell_value
    if buys.is_signed() or sells.is_signed():
        return max(abs(held + buys), abs(sells - held))
    if held.is_signed():  # then it is what sales may make of it, unless purchases make more
        gross = sells - held
        return held + buys if buys > gross and held + buys > gross else gross
    gross = held if buys is ZERO else held + buys
    return sells - held if sells > gross and sells - held > gross else gross


# --- open orders -----------------------------------------------------------------------------------------


def accepted_price(state: State, event: OrderAccepted) -> Decimal:
    """What a new order's units are valued at: its limit, its trigger, the price it was measured against."""
    price, special = event.price, event.special
    if price is None and special is not None:
        price = special.stop_px
    if price is None:
        price = event.reference
    return price if price is not None else state.risk.marks.get(event.symbol, ZERO)


def count_new(
    state: State,
    account: str,
    symbol: str,
    buying: bool,
    qty: Decimal,
    value: Decimal,
    of: AccountPlace,
    to: SymbolPlace,
    known: Cell | None = None,
) -> tuple[Cell, Standing]:
    """Count all of a new order as open: it has the figures of its own already.

    Args:
        value: of the whole order, the multiplier in it.
        of, to: where the figures of the account and of the symbol are; `known` the account's cell in the
            symbol, where that is at hand.

    Returns:
        The account's figures in the symbol and in its currency, which the order may keep.
    """
    standing = of.standing if to.home else _standing_in(state, account, of, to)
    cell = known if known is not None else _cell(state, account, symbol, of, standing)
    held, gross, change = cell.held, cell.gross, ZERO
    if buying:
        opened, opposite = cell.buy_value, cell.sell_value
        if cell.buy:
            cell.buy, value_open = cell.buy + qty, opened + value
        else:  # nothing to add to
            cell.buy, value_open = qty, value
        cell.buy_value, outcome = value_open, held + value_open if held else value_open
    else:
        opened, opposite = cell.sell_value, cell.buy_value
        if cell.sell:
            cell.sell, value_open = cell.sell + qty, opened + value
        else:
            cell.sell, value_open = qty, value
        cell.sell_value, outcome = value_open, value_open - held if held else value_open
    if outcome > gross:
        change, cell.gross = outcome if gross is ZERO else outcome - gross, outcome
    elif value.is_signed() or opened.is_signed() or opposite.is_signed():  # by a price below zero
        cell.gross = _gross(cell)
        change = cell.gross - gross
    if change is not ZERO:
        own = standing.own
        total = own.gross = own.gross + change
        if total > standing.gross:
            standing.widen()
    if standing.followed:
        standing.follow(change, value if buying else ZERO, ZERO if buying else value, ZERO)
    return cell, standing


def open_price(order: Order) -> Decimal | None:
    """What an order's open units are valued at: the limit, the larger of two while a replace is out; without
    a limit what it was accepted at. None for an order without a limit that has nothing open.
    """
    price = order.price if order.price is not None else order.open_px
    pending = order.pending_replace
    if price is not None and pending is not None and pending.price is not None and pending.price > price:
        return pending.price
    return price


def recount(state: State, order: Order, reserved: Decimal) -> None:
    """Count `reserved` units of the order as open, at their price now: by unit and by value."""
    px, value = None, ZERO
    if reserved:
        px = open_price(order)
        if px is None:
            px = _reopened_price(state, order)
        value = reserved * px * state.instruments[order.symbol].multiplier
    units, change = reserved - order.reserved, value - order.open_value
    order.reserved, order.open_px, order.open_value = reserved, px, value
    if not (units or change):
        return
    account, symbol = order.account, order.symbol
    of, to = places(state, account, symbol)
    standing = _standing_in(state, account, of, to)
    cell = _cell(state, account, symbol, of, standing)
    if order.side is _BUY:
        cell.buy, cell.buy_value = cell.buy + units or ZERO, cell.buy_value + change or ZERO
        _shift(standing, cell, change, ZERO)
    else:
        cell.sell, cell.sell_value = cell.sell + units or ZERO, cell.sell_value + change or ZERO
        _shift(standing, cell, ZERO, change)


def _reopened_price(state: State, order: Order) -> Decimal:
    """For an order without a limit that is open again: the trigger, the mark, else what it traded at."""
    if order.special is not None and order.special.stop_px is not None:
        return order.special.stop_px
    mark = state.risk.marks.get(order.symbol)
    return mark if mark is not None else order.avg_px


def borrow(state: State, order: Order) -> None:
    """A short sale takes what is executed and may still be; the rest goes back when the order ends."""
    borrowed = state.risk.borrowed.get(order.order_id)
    if borrowed is None:
        return
    taken = order.cum_qty + order.reserved
    state.risk.locates[borrowed.locate_id].left -= taken - borrowed.taken
    borrowed.taken = taken


# --- positions and trades --------------------------------------------------------------------------------


def count_position(state: State, account: str, symbol: str, px: Decimal | None = None) -> None:
    """Value the position, which may be another object than before: at the journaled reference price, else at
    the account's last execution.
    """
    of, to = places(state, account, symbol)
    standing = _standing_in(state, account, of, to)
    cell = _cell(state, account, symbol, of, standing)
    cell.holding = state.positions.get(account, symbol)
    units = state.net_position(account, symbol)
    mark = state.risk.marks.get(symbol)
    if mark is None:
        mark = px if px is not None else cell.mark
    if units == cell.position and mark == cell.mark:
        return
    moved = (units * mark - cell.position * cell.mark) * to.instrument.multiplier
    cell.position, cell.mark = units, mark
    if moved:
        cell.held = cell.held + moved or ZERO
        _shift(standing, cell, moved, -moved)


def count_trade(state: State, account: str, symbol: str, value: Decimal) -> None:
    """Count what was traded today.

    Args:
        value: quantity times price per multiplier; negative when it is taken back.
    """
    of, to = places(state, account, symbol)
    _count_traded(_standing_in(state, account, of, to), value * to.instrument.multiplier)


def _count_traded(standing: Standing, amount: Decimal) -> None:
    own = standing.own
    own.traded += amount
    if own.traded > standing.traded:
        standing.widen()
    standing.follow(ZERO, ZERO, ZERO, amount)


def count_bought(
    order: Order,
    cell: Cell,
    standing: Standing,
    to: SymbolPlace,
    qty: Decimal,
    px: Decimal,
    traded: Decimal,
    units: Decimal,
    left: Decimal,
) -> None:
    """Count an execution of a purchase as one change: the position, what was traded, and what the order has
    left open, at the price at which it is counted.

    Args:
        cell, standing, to: as `figures_of` the order.
        qty, px: of the execution.
        traded: its value as one of today's; zero for one of another day.
        units: what the position holds now, bought positive.
        left: units of the order that are left open.
    """
    factor = to.factor
    mark = px if to.mark is None else to.mark
    moved = qty * mark if mark is cell.mark else _revalue(cell, qty, units, mark)
    if factor is not None:
        moved *= factor
    if left:
        freed, closed = _leave(order, left, factor)
    else:
        freed, closed = order.reserved, order.open_value
        order.reserved, order.open_px, order.open_value = ZERO, None, ZERO
    cell.position, held = units, cell.held
    held = cell.held = (held + moved if held else moved) or ZERO
    if freed is cell.buy:  # the only order there was
        opened = cell.buy = cell.buy_value = ZERO
    else:
        cell.buy = cell.buy - freed or ZERO
        opened = cell.buy_value = cell.buy_value - closed or ZERO
    if opened is ZERO and cell.sell_value is ZERO:
        gross = -held if held.is_signed() else held
    else:
        gross = _gross(cell)
    change, cell.gross, sums = gross - cell.gross, gross, standing.own
    total = sums.gross = sums.gross + change
    spent = sums.traded = sums.traded + traded
    if total > standing.gross or spent > standing.traded:
        standing.widen()
    if standing.followed:
        standing.follow(change, moved - closed, -moved, traded)


def count_sold(
    order: Order,
    cell: Cell,
    standing: Standing,
    to: SymbolPlace,
    qty: Decimal,
    px: Decimal,
    traded: Decimal,
    units: Decimal,
    left: Decimal,
) -> None:
    """Count an execution of a sale: the mirror image of `count_bought`, with its arguments."""
    factor = to.factor
    mark = px if to.mark is None else to.mark
    moved = qty * mark if mark is cell.mark else -_revalue(cell, -qty, units, mark)
    if factor is not None:
        moved *= factor
    if left:
        freed, closed = _leave(order, left, factor)
    else:
        freed, closed = order.reserved, order.open_value
        order.reserved, order.open_px, order.open_value = ZERO, None, ZERO
    cell.position = units
    held = cell.held = cell.held - moved or ZERO
    if freed is cell.sell:  # the only order there was
        opened = cell.sell = cell.sell_value = ZERO
    else:
        cell.sell = cell.sell - freed or ZERO
        opened = cell.sell_value = cell.sell_value - closed or ZERO
    if opened is ZERO and cell.buy_value is ZERO:
        gross = -held if held.is_signed() else held
    else:
        gross = _gross(cell)
    change, cell.gross, sums = gross - cell.gross, gross, standing.own
    total = sums.gross = sums.gross + change
    spent = sums.traded = sums.traded + traded
    if total > standing.gross or spent > standing.traded:
        standing.widen()
    if standing.followed:
        standing.follow(change, -moved, moved - closed, traded)


def _revalue(cell: Cell, qty: Decimal, units: Decimal, mark: Decimal) -> Decimal:
    """Note the position's mark after it has moved by so many units, bought positive; how much its value, per
    multiplier, has.
    """
    before = cell.mark
    if mark == before:
        return qty * mark
    cell.mark = mark
    if before is ZERO and not cell.position:  # the cell's first execution
        return qty * mark
    return units * mark - cell.position * before


def _leave(order: Order, left: Decimal, factor: Decimal | None) -> tuple[Decimal, Decimal]:
    """Leave units of the order open, at their price; the units and the value that are open no more."""
    freed, closed, px = order.reserved, order.open_value, order.open_px
    if left is freed:  # it is settled
        return ZERO, ZERO
    order.reserved = left
    if px is None:
        order.open_value = ZERO
        return freed, closed
    value = order.open_value = left * px if factor is None else left * px * factor
    return freed - left, closed - value


# --- all anew --------------------------------------------------------------------------------------------


def rebuild(state: State) -> None:
    """Sum everything anew: reference data have changed accounts, currencies, multipliers or the base."""
    risk = state.risk
    cells, risk.cells, risk.members = risk.cells, {}, {}
    base = risk.policy.base_currency.value
    for account in state.accounts:
        _, client, firm = scope_keys(state, account)
        risk.members[account] = (client, firm)
        risk.figures.setdefault(account, {}).setdefault(base, Figures())
    for by_currency in risk.figures.values():
        for figures in by_currency.values():
            figures.gross = ZERO
    risk.forget_sums()
    for account, by_symbol in cells.items():
        for symbol, cell in by_symbol.items():
            count_position(state, account, symbol, cell.mark)
    for order in state.tables.orders.live().values():
        if order.reserved:
            reserved, order.reserved, order.open_value = order.reserved, ZERO, ZERO
            recount(state, order, reserved)
    risk.memo.clear()
