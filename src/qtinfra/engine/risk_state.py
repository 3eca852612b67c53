"""What the pre-trade controls remember: a part of the shard's state, changed by `evolve_risk` only."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from qtinfra.core.decimals import ONE
from qtinfra.core.extended_models import Instrument, RiskPolicy
from qtinfra.core.ids import Heads
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.core.writes import quick_writes
from qtinfra.risk.facts import AccountProfile, Control, Rate, RiskProfile, SymbolProfile
from qtinfra.risk.ledger import (
    AlgoRun,
    Amounts,
    Borrowed,
    Cell,
    Drift,
    Figures,
    Flow,
    FlowKey,
    LimitVersion,
    LocateUse,
    Override,
    Stamps,
    Standing,
    Sums,
    Totals,
)
from qtinfra.risk.limits import Values
from qtinfra.risk.sheet import UNLIMITED, Fits, LimitSheet, ScopeSheet
from qtinfra.router.sor import Top


class BookView(msgspec.Struct, gc=False):
    """What decisions read of one book.

    Attributes:
        bid, ask: the touch of the live venues; `mid` is None when a side is missing or they are crossed.
        quotes: the live venues' quotes by venue; empty when no feed is live.
    """

    book: ConsolidatedBook
    bid: Decimal | None
    ask: Decimal | None
    mid: Decimal | None
    quotes: dict[str, VenueQuote]


#: An account's limits by value, the capital, and the limit on messages.
LimitKind = tuple[Values, Decimal, int | None]

#: Lengths (ns) of the windows of messages, equal orders and drift; None for one that no limit reads.
Windows = tuple[int | None, int | None, int | None]

#: Profiles kept in memory; when there are more they are all made anew.
MAX_PROFILES = 200_000


class AccountPlace:
    """Where the figures of one account are, and what its plain orders are decided by.

    `account` is its id, one object for all that is kept of its orders: each of them comes with a copy.
    `standing` has its sums in the base currency, with those that follow them. `cells` are by symbol,
    `messages` the times of its messages, `names` its client ids; each None until there is a first one.
    `awaiting` has the profiles of symbols in which there is no cell yet.
    `acks`: New is said at acceptance, as it always is for an order taken by phone. `self_match`: venues are
    told which orders of its firm must not meet. `salt` is what the index of packed orders hashes its client
    ids with.

    `plans` are by symbol, and accounts with equal limits share them; None as long as nothing is gathered, or
    the account calls for a closer look at every order. With them come `at_home`: its base currency is the
    shard's; `scopes`, the limits of account, client and firm with their totals; and `foreign`, those of the
    widest one in other currencies: in whichever an account has any, its client and its firm have too.
    """

    __slots__ = (
        "account",
        "acks",
        "at_home",
        "awaiting",
        "cells",
        "foreign",
        "messages",
        "names",
        "plans",
        "salt",
        "scopes",
        "self_match",
        "standing",
    )

    def __init__(self, account: str, acks: bool, self_match: bool, standing: Standing, salt: int) -> None:
        self.account = account
        self.acks = acks
        self.self_match = self_match
        self.standing = standing
        self.salt = salt
        self.cells: dict[str, Cell] | None = None
        self.messages: list[int] | None = None
        self.names: dict[str, str] | None = None
        self.awaiting: dict[str, RiskProfile] | None = None
        self.plans: dict[str, Plan] | None = None
        self.at_home = False
        self.scopes: tuple[ScopeSheet, ...] = ()
        self.foreign: Mapping[str, Amounts | Sums] = {}


class SymbolPlace:
    """Where the figures of one symbol are.

    `home`: it trades in the base currency. `factor` is its multiplier, None where that is a plain 1.
    `mark` is its journaled reference price. `messages` and `drift` are None until there is a first one.
    """

    __slots__ = ("drift", "factor", "home", "instrument", "mark", "messages")

    def __init__(self, instrument: Instrument, home: bool, mark: Decimal | None) -> None:
        self.instrument = instrument
        multiplier = instrument.multiplier
        self.factor = multiplier if multiplier.compare_total(ONE) else None
        self.home = home
        self.mark = mark
        self.messages: list[int] | None = None
        self.drift: Drift | None = None


@quick_writes
class Bound(msgspec.Struct, gc=False):
    """The collars of one side as the last price that they let pass.

    Attributes:
        book, anchor: what it was computed from: the market, and the extreme reference of the period.
        opened: when the venues were last looked at, as `RiskMemo.opened`; None: it holds for one order only.
        reference: the market's price, which the collars are measured against.
        top: what an order of the side meets first in the book; None where routing looks for itself.
        within: a limit that keeps the rules, passes the collars and, where there is one, takes `top`'s offer:
            the last that did.
        values: sizes that keep the rules and the limits on one order at that limit, each with its value then.
    """

    price: Decimal = ONE
    book: ConsolidatedBook | None = None
    anchor: Decimal | None = None
    opened: object = None
    reference: Decimal | None = None
    top: Top | None = None
    within: Decimal = UNLIMITED
    values: dict[Decimal, tuple[Decimal, Decimal]] = {}


class Plan(msgspec.Struct, gc=False):
    """Everything that a plain order of one kind of account in one symbol is compared with.

    Attributes:
        free: neither the symbol nor its limits call for a closer look at every order.
        to: where the figures of the symbol are.
        fits: numbers that the rules have passed; none where the plan is not free.
        buying, selling: the collars, once they were asked for.
    """

    free: bool
    sheet: LimitSheet
    short_sale: bool
    to: SymbolPlace
    fits: Fits
    buying: Bound
    selling: Bound


#: The approval of a plain new order, with what was found on the way, which evolve need not look for again:
#: where the figures of the account and of the symbol are; the price that the controls measured the order
#: against, if one did; what a unit is valued at, and the whole order, the multiplier in it; what it meets
#: first in the market and takes, if the market was asked for; what makes another order the same flow, if a
#: limit asked for it, and when such orders came in the current generation; the account's figures in the
#: symbol, if there are any yet and they were looked at. A tuple, since a struct costs twice as much.
PlainPass = tuple[
    AccountPlace,
    SymbolPlace,
    Decimal | None,
    Decimal,
    Decimal,
    Top | None,
    FlowKey | None,
    Stamps | None,
    Cell | None,
]
#: Where the reference and what is met first stand in it.
REFERENCE: Final = 2
TOP: Final = 5


class RiskMemo:
    """What the gate has gathered, by account, by symbol and by both; `rates` are into the base currency.

    `of_accounts` and `of_symbols` say where evolve finds their figures. `windows` has the lengths (ns) of
    those that a limit reads. `kinds` has the plans by symbol of each different set of limits that accounts
    have, `made` counts them; `scopes` has what the accounts of one client or firm share; `traders` says which
    traders nothing holds back. `books` has the last book seen of a symbol.
    """

    __slots__ = (
        "accounts",
        "books",
        "buys",
        "controls",
        "ids",
        "kinds",
        "made",
        "of_accounts",
        "of_symbols",
        "opened",
        "profiles",
        "rates",
        "scopes",
        "sells",
        "symbols",
        "traders",
        "windows",
    )

    def __init__(self) -> None:
        self.profiles: dict[tuple[str, str], RiskProfile] = {}
        self.accounts: dict[str, AccountProfile] = {}
        self.symbols: dict[str, SymbolProfile] = {}
        self.rates: dict[str, Rate] | None = None
        self.controls: dict[tuple[bool, ...], tuple[Control, ...]] = {}
        self.of_accounts: dict[str, AccountPlace] = {}
        self.of_symbols: dict[str, SymbolPlace] = {}
        self.windows: Windows | None = None
        self.kinds: dict[LimitKind, dict[str, Plan]] = {}
        self.made = 0
        self.ids = Heads()
        #: Another object whenever the venues that are open may be others.
        self.opened = object()
        self.scopes: dict[tuple[object, ...], ScopeSheet] = {}
        self.traders: dict[str, bool] = {}
        self.books: dict[str, BookView] = {}
        #: What orders of a side met in the last book of a symbol, at the venues that are open.
        self.buys: dict[str, Top] = {}
        self.sells: dict[str, Top] = {}

    def clear(self) -> None:
        """A control has changed."""
        self.profiles.clear()
        self.accounts.clear()
        self.symbols.clear()
        self.controls.clear()
        self.of_accounts.clear()
        self.of_symbols.clear()
        self.kinds.clear()
        self.made = 0
        self.scopes.clear()
        self.traders.clear()
        self.rates = None
        self.windows = None


class _Kept:
    """What is kept beside the fields, not encoded: `memo` has limits and permissions gathered from the state,
    dropped when one of them changes; `standings` by account and currency and `totals` by account, client
    ("CLIENT:…") and firm ("FIRM:…") follow from cells and figures, and are gathered when first needed.
    """

    __slots__ = ("memo", "standings", "totals")

    memo: RiskMemo
    standings: dict[tuple[str, str], Standing]
    totals: dict[str, Totals]


class RiskState(msgspec.Struct, _Kept):
    """Counters and permissions of the controls.

    Attributes:
        cells: positions and open orders by account and symbol.
        figures: what cells come to and was traded, by account and currency; of every account in the base one.
        members: client ("CLIENT:…") and firm ("FIRM:…") that an account's figures are counted under.
        marks: journaled reference prices that positions are valued at.
        reference_ns, fx_ns: when a reference price and a rate were journaled.
        messages: when accounts sent messages; `book_messages` when they came, by symbol.
        drift: reference prices of the period by symbol.
        approved: by kind, then party.
        borrowed: what each order with a locate takes of it.
        price_tests: symbols under the short-sale price test, with the reason.
        limit_versions: by "rule|account|symbol".
        closes: previous closes of covered securities: the reference price at the day's open, else the first.
        falls: days, this one included, that a price test which a fall has triggered still binds.
    """

    policy: RiskPolicy = RiskPolicy()
    cells: dict[str, dict[str, Cell]] = {}
    figures: dict[str, dict[str, Figures]] = {}
    members: dict[str, tuple[str, str]] = {}
    marks: dict[str, Decimal] = {}
    reference_ns: dict[str, int] = {}
    fx_ns: dict[str, int] = {}
    messages: dict[str, list[int]] = {}
    book_messages: dict[str, list[int]] = {}
    flow: Flow = msgspec.field(default_factory=Flow)
    drift: dict[str, Drift] = {}
    approved: dict[str, dict[str, bool]] = {}
    algos: dict[str, AlgoRun] = {}
    locates: dict[str, LocateUse] = {}
    borrowed: dict[str, Borrowed] = {}
    price_tests: dict[str, str] = {}
    overrides: dict[str, Override] = {}
    limit_versions: dict[str, LimitVersion] = {}
    closes: dict[str, Decimal] = {}
    falls: dict[str, int] = {}

    def __post_init__(self) -> None:
        self.memo = RiskMemo()
        self.standings = {}
        self.totals = {}

    def cell(self, account: str, symbol: str) -> Cell | None:
        """The account's position and open orders in a symbol, if it ever had any."""
        by_symbol = self.cells.get(account)
        return by_symbol.get(symbol) if by_symbol is not None else None

    def forget_sums(self) -> None:
        """What the sums are made of is other than before: gather them anew when they are needed."""
        self.memo.clear()
        for standing in self.standings.values():
            standing.forgotten = True
        self.standings.clear()
        self.totals.clear()
