"""What the pre-trade controls count: exposure, credit, message and duplicate windows, locates, overrides.

Everything here is part of the engine's state, changed by evolve only; each figure is kept incrementally, so
that a check costs the same with ten orders open and with a million. Windows are bounded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from qtinfra.core.decimals import ZERO, exact
from qtinfra.core.writes import quick_writes

#: Most messages that a window remembers, and so the most that a message limit may allow.
MAX_WINDOW = 10_000
#: A window is looked at, for what it need not remember, when its length has none of these bits.
LOOK_AT = 31
#: A drift window's entries are at least this part of the window apart.
DRIFT_SLOTS = 64

#: What makes two orders the same flow: account, symbol, side's name (a member's hash would be computed in
#: Python each time), quantity, limit price.
FlowKey = tuple[str, str, str, Decimal, Decimal | None]
#: When they came (ns, ascending); mostly one did.
Stamps = int | list[int]

_UNLIMITED = Decimal("Infinity")
#: What accounts' parts of the bounds are, powers of two: the same few objects for all of them, which are at
#: hand where an account's own would be found cold.
_PARTS = tuple([Decimal(1 << exponent) for exponent in range(65)])


class _Kept:
    """What a cell keeps beside its fields, not encoded: `holding` is the account's position in the symbol, so
    that an execution finds both by one look-up; None while there is none, or nobody has looked.
    """

    __slots__ = ("holding",)

    holding: Any


@quick_writes
class Cell(msgspec.Struct, _Kept, gc=False):
    """An account in one symbol: all that an order of its own is measured with, in one place.

    Values are in the instrument's currency. Most cells have nothing open most of the time: then three numbers
    are `ZERO` itself, and a sum that begins with one of them is the number added, not a copy of it.

    Attributes:
        position: units held, bought positive; `mark` is the price they are valued at.
        buy, sell: units open in the account's orders by side; children in doubt count in full.
        held: value of the position, negative when short.
        buy_value, sell_value: value of what is open by side.
        gross: the larger absolute value of `long` and `short`.
    """

    position: Decimal = ZERO
    mark: Decimal = ZERO
    buy: Decimal = ZERO
    sell: Decimal = ZERO
    held: Decimal = ZERO
    buy_value: Decimal = ZERO
    sell_value: Decimal = ZERO
    gross: Decimal = ZERO

    def __post_init__(self) -> None:
        self.holding = None

    @property
    def long(self) -> Decimal:
        """Value of the position if every open buy executes; the caller enters `core.decimals.exact()`."""
        return self.held + self.buy_value

    @property
    def short(self) -> Decimal:
        """The negative of its value if every open sell does; the caller enters `core.decimals.exact()`."""
        return self.sell_value - self.held


@quick_writes
class Figures(msgspec.Struct, gc=False):
    """What is always known of an account in one currency.

    Attributes:
        gross: sum of its cells' gross values.
        traded: value executed today, both sides; negative when more of another day's was taken back.
    """

    gross: Decimal = ZERO
    traded: Decimal = ZERO


# --- sums of accounts, clients and firms: what their cells come to, no state of their own ------------------


@quick_writes
class Amounts(msgspec.Struct, gc=False):
    """Sums over the cells of a scope in one currency.

    Attributes:
        gross: of the cells' gross values; neither `long` nor `short` is ever larger.
        long: net value of the positions if every open buy executes; `short` the negative of it if every open
            sell does. What is held is in both, with opposite signs: their sum is the value of what is open.
        traded: value executed today, both sides.
    """

    gross: Decimal = ZERO
    long: Decimal = ZERO
    short: Decimal = ZERO
    traded: Decimal = ZERO

    @property
    def used(self) -> Decimal:
        """What counts against credit: the value executed today and of everything open."""
        return self.traded + self.long + self.short

    @property
    def bounds(self) -> Amounts:
        """`gross` and `traded` are no more than these."""
        return self


class Sums:
    """Sums over the cells of an account, a client or a firm in one currency; exact whenever they are read.

    Hardly an order comes near a limit on them. So nothing is added up until one of them is read: until then
    `bounds` has a gross and a traded value that the sums do not exceed. Those of an account are its figures,
    those of a client or a firm are made of the parts that its accounts have in them. From the first reading
    on the sums follow every change, and are the bounds of a client or a firm.

    Attributes:
        exact: they follow; `kept` are the sums then.
        members: the accounts that they are sums of.
        clear_gross, clear_traded: bounds up to which what members have noted as `Standing.clear` holds.
    """

    __slots__ = ("bounds", "clear_gross", "clear_traded", "exact", "kept", "members")

    def __init__(self, own: Figures | None = None) -> None:
        self.kept = Amounts()
        self.bounds: Amounts | Figures = own or self.kept
        self.exact = False
        self.members: list[Standing] = []
        self.clear_gross = self.clear_traded = _UNLIMITED

    @property
    def gross(self) -> Decimal:
        return self._known().gross

    @property
    def long(self) -> Decimal:
        return self._known().long

    @property
    def short(self) -> Decimal:
        return self._known().short

    @property
    def traded(self) -> Decimal:
        return self._known().traded

    @property
    def used(self) -> Decimal:
        """As of `Amounts`."""
        return self._known().used

    def _known(self) -> Amounts:
        """The sums, from now on exact."""
        sums = self.kept
        if self.exact:
            return sums
        self.exact = True
        with exact():  # whoever reads them may count otherwise
            cells = [cell for member in self.members for cell in member.cells]
            sums.gross = sum((member.own.gross for member in self.members), ZERO)
            sums.long = sum((cell.long for cell in cells), ZERO)
            sums.short = sum((cell.short for cell in cells), ZERO)
            sums.traded = sum((member.own.traded for member in self.members), ZERO)
        for member in self.members:
            member.followed += (sums,)
        self._unclear()
        return sums

    def add_bound(self, gross: Decimal, traded: Decimal) -> None:
        """A member's part of the bounds has grown; of sums that are exact none has one."""
        if self.exact:
            return
        kept = self.kept
        kept.gross += gross
        kept.traded += traded
        if kept.gross > self.clear_gross or kept.traded > self.clear_traded:
            self._unclear()

    def keep_clear(self, gross: Decimal, traded: Decimal) -> bool:
        """Whether the bounds are within these, and members will be told when they are no longer. Those of
        exact sums change with every order: they are not told of.
        """
        kept = self.kept
        if self.exact or kept.gross > gross or kept.traded > traded:
            return False
        self.clear_gross, self.clear_traded = min(gross, self.clear_gross), min(traded, self.clear_traded)
        return True

    def _unclear(self) -> None:
        """What members have noted holds no longer."""
        self.clear_gross = self.clear_traded = _UNLIMITED
        for member in self.members:
            member.clear = None


class Totals:
    """Sums of one account, client or firm: in the base currency, and apart in every other one."""

    __slots__ = ("foreign", "home")

    def __init__(self) -> None:
        self.home = Sums()
        self.foreign: dict[str, Sums] = {}

    def sums_in(self, currency: str, base: str, own: Figures | None = None) -> Sums:
        """Those in one currency, begun where there are none; `own` are the account's figures in it."""
        if currency != base:
            return self.foreign.setdefault(currency, Sums(own))
        if own is not None:
            self.home = Sums(own)
        return self.home


class Standing:
    """An account's figures in one currency, and the sums that they are part of.

    Attributes:
        own: its figures.
        gross, traded: its parts of the bounds above: its figures are no more than these.
        cells: its cells in the symbols of the currency.
        above: the sums of its client and its firm.
        followed: those of them, and of its own sums, that are exact; they change with its figures.
        clear: no single order of the account can reach a limit on its figures or the sums above, as long as
            its parts are no more than `clear_gross` and `clear_traded`, and those sums tell of nothing else.
            None: this has to be asked (again).
        forgotten: its cells may be others by now, and another one is counted in its place.
    """

    __slots__ = (
        "above",
        "cells",
        "clear",
        "clear_gross",
        "clear_traded",
        "followed",
        "forgotten",
        "gross",
        "own",
        "traded",
    )

    def __init__(self, own: Figures, sums_of_own: Sums, above: tuple[Sums, ...]) -> None:
        self.own = own
        self.cells: list[Cell] = []
        self.above = above
        self.followed: tuple[Amounts, ...] = ()
        self.gross = self.traded = ZERO
        self.clear: bool | None = None
        self.forgotten = False
        self.clear_gross = self.clear_traded = _UNLIMITED
        for sums in (sums_of_own, *above):
            sums.members.append(self)
            self.followed += (sums.kept,) if sums.exact else ()
        self.widen()

    def widen(self) -> None:
        """Its figures have grown beyond its parts of the bounds: these become the next power of two, so
        that it happens ever less often. The caller enters `core.decimals.exact()`.
        """
        own, more, more_traded = self.own, ZERO, ZERO
        if own.gross > self.gross:
            part = _part(own.gross)
            more, self.gross = part - self.gross, part
        if own.traded > self.traded:
            part = _part(own.traded)
            more_traded, self.traded = part - self.traded, part
        if self.clear and (self.gross > self.clear_gross or self.traded > self.clear_traded):
            self.clear = False
        for sums in self.above:
            sums.add_bound(more, more_traded)

    def note_clear(self, limits: Iterable[tuple[Amounts | Sums, Decimal, Decimal]]) -> bool:
        """Find out whether it is `clear`, and note it until a bound grows beyond what that rests on.

        Args:
            limits: sums, and the gross and traded values up to which no single order can reach a limit.
        """
        clear, own_gross, own_traded = True, _UNLIMITED, _UNLIMITED
        for sums, gross, traded in limits:
            if type(sums) is Sums and sums in self.above:
                clear = clear and sums.keep_clear(gross, traded)
            elif sums.bounds is self.own:
                own_gross, own_traded = min(gross, own_gross), min(traded, own_traded)
            else:
                clear = False
        self.clear = clear = clear and self.gross <= own_gross and self.traded <= own_traded
        self.clear_gross, self.clear_traded = own_gross, own_traded
        return clear

    def follow(self, gross: Decimal, long: Decimal, short: Decimal, traded: Decimal) -> None:
        """Let the exact sums above follow a change; the caller enters `core.decimals.exact()`."""
        for kept in self.followed:
            kept.gross += gross
            if long is not ZERO:
                kept.long += long
            if short is not ZERO:
                kept.short += short
            if traded is not ZERO:
                kept.traded += traded


def _part(figure: Decimal) -> Decimal:
    """An account's part of the bounds: more than its figure, which is positive, and not far from it."""
    bits = int(figure).bit_length()
    return _PARTS[bits] if bits < len(_PARTS) else figure + figure


@quick_writes
class LocateUse(msgspec.Struct, gc=False):
    """A locate and what is left of it."""

    account: str
    symbol: str
    qty: Decimal
    left: Decimal
    trade_date: str = ""
    source: str = ""


@quick_writes
class Borrowed(msgspec.Struct, gc=False):
    """What a short sale takes of its locate: what is executed and what may still be."""

    locate_id: str
    taken: Decimal = ZERO


class AlgoRun(msgspec.Struct, gc=False):
    """How often an algo has sent since it was enabled or the day began, and whether it is stopped."""

    executions: int = 0
    disabled: bool = False


class Override(msgspec.Struct, gc=False):
    """Leave for one order to pass a soft limit up to `value`; it counts once `approved_by` is there."""

    rule: str
    account: str
    symbol: str
    value: Decimal
    expires_ns: int
    requested_by: str
    approved_by: str = ""


class LimitVersion(msgspec.Struct, frozen=True, gc=False):
    """The version of one limit that counts: its number from 1, who set it, and why."""

    version: int
    value: Decimal | None
    author: str
    reason: str


# --- message windows: ascending times, ns ----------------------------------------------------------------


def window_full(stamps: list[int] | None, limit: int, since_ns: int) -> bool:
    """Whether `limit` messages are younger than `since_ns`: the limit-th youngest is."""
    if stamps is None or limit <= 0:
        return limit <= 0
    return len(stamps) >= limit and stamps[-limit] > since_ns


def window_add(stamps: list[int], ts_ns: int, since_ns: int) -> None:
    """Count a message; what is not younger than `since_ns` is dropped when it is half of the list, which is
    looked at with every 32nd message.
    """
    stamps.append(ts_ns)
    if not len(stamps) & LOOK_AT:
        window_shorten(stamps, since_ns)


def window_shorten(stamps: list[int], since_ns: int) -> None:
    """Drop what is not younger than `since_ns` when it is half of the window."""
    half = len(stamps) >> 1
    if stamps[half] <= since_ns:
        del stamps[: half + 1]
    elif len(stamps) > 2 * MAX_WINDOW:
        del stamps[:MAX_WINDOW]


# --- duplicate flow: two generations, each at most a window long -----------------------------------------


@quick_writes
class Flow(msgspec.Struct, gc=False):
    """When equal orders came. A generation that has become a window old moves back, and then out."""

    current: dict[FlowKey, Stamps] = {}
    previous: dict[FlowKey, Stamps] = {}
    begun_ns: int = 0

    def seen(self, key: FlowKey, since_ns: int) -> int:
        """How many equal orders are younger than `since_ns`."""
        stamps = self.current.get(key)
        count = _younger(stamps, since_ns) if stamps is not None else 0
        if self.begun_ns > since_ns and self.previous:
            stamps = self.previous.get(key)
            if stamps is not None:
                count += _younger(stamps, since_ns)
        return count

    def add(self, key: FlowKey, ts_ns: int, window_ns: int) -> None:
        age = ts_ns - self.begun_ns
        if age >= window_ns:
            self.previous = self.current if age < 2 * window_ns else {}
            self.current = {}
            self.begun_ns = ts_ns
        stamps = self.current.setdefault(key, [])
        if isinstance(stamps, int):
            self.current[key] = [stamps, ts_ns]
        elif stamps:
            stamps.append(ts_ns)
        else:
            self.current[key] = ts_ns


def _younger(stamps: Stamps, since_ns: int) -> int:
    if isinstance(stamps, int):
        return int(stamps > since_ns)
    return len(stamps) - bisect_right(stamps, since_ns)


# --- drift: lowest and highest reference of a period -----------------------------------------------------


@quick_writes
class Drift(msgspec.Struct, gc=False):
    """Reference prices of accepted orders: queues of (time, price) whose first live item is the extreme.

    Items of one slot of time are joined, so that the queues stay bounded: an extreme then counts up
    to a slot longer than the window, never shorter.

    Attributes:
        only: the one price in the queues, where there is but one; then `last_ns` is when it last came, and
            counts instead of the time in the queues.
    """

    lows: list[tuple[int, Decimal]] = []
    highs: list[tuple[int, Decimal]] = []
    only: Decimal | None = None
    last_ns: int = 0

    def low(self, since_ns: int) -> Decimal | None:
        return self._first(self.lows, since_ns)

    def high(self, since_ns: int) -> Decimal | None:
        return self._first(self.highs, since_ns)

    def _first(self, queue: list[tuple[int, Decimal]], since_ns: int) -> Decimal | None:
        if self.only is not None:
            return self.only if self.last_ns > since_ns else None
        return next((price for stamp, price in queue if stamp > since_ns), None)

    def add(self, ts_ns: int, price: Decimal, window_ns: int) -> None:
        only, last_ns, self.last_ns = self.only, self.last_ns, ts_ns
        lows, highs = self.lows, self.highs
        if only is not None:
            if not price.compare_total(only):  # the same as it is written: this one may come again
                self.only = price
                return
            lows[0] = highs[0] = (last_ns, only)
        while lows and lows[-1][1] >= price:
            lows.pop()
        while highs and highs[-1][1] <= price:
            highs.pop()
        for queue in (lows, highs):
            _push(queue, ts_ns, price, window_ns)
        self.only = price if len(lows) == len(highs) == 1 else None


def _push(queue: list[tuple[int, Decimal]], ts_ns: int, price: Decimal, window_ns: int) -> None:
    slot = -(-window_ns // DRIFT_SLOTS)
    if queue and ts_ns - queue[0][0] > window_ns:
        queue[:] = [item for item in queue if ts_ns - item[0] <= window_ns]
    if len(queue) > 1 and queue[-1][0] // slot == queue[-2][0] // slot:
        queue[-2:] = [(queue[-1][0], queue[-2][1])]
    queue.append((ts_ns, price))
