"""What the pre-trade controls remember: a part of the shard's state, changed by `evolve_risk` only."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property

import msgspec

from qtinfra.core.extended_models import RiskPolicy
from qtinfra.core.market import ConsolidatedBook, VenueQuote
from qtinfra.risk.facts import AccountProfile, Control, Rate, RiskProfile, SymbolProfile
from qtinfra.risk.ledger import (
    AlgoRun,
    Amounts,
    Borrowed,
    Cell,
    Drift,
    Flow,
    LimitVersion,
    LocateUse,
    OpenRisk,
    Override,
    Totals,
)
from qtinfra.risk.limits import Values
from qtinfra.risk.sheet import Plan, ScopeSheet
from qtinfra.router.sor import Offer, VenueTerms, best_offer


class BookView(msgspec.Struct, gc=False):
    """What decisions read of one book.

    Attributes:
        bid, ask: the touch of the live venues; `mid` is None when a side is missing or they are crossed.
        quotes: the live venues' quotes by venue; empty when no feed is live.
        best: `best_offer` over `venues` for a buy (True) and a sell, once it was asked for.
    """

    book: ConsolidatedBook
    bid: Decimal | None
    ask: Decimal | None
    mid: Decimal | None
    quotes: dict[str, VenueQuote]
    venues: tuple[VenueTerms, ...] = ()
    best: dict[bool, Offer | None] = {}

    def best_of(self, venues: tuple[VenueTerms, ...], lot: Decimal, buying: bool) -> Offer | None:
        """The offer to be taken first at these venues, for instruments in lots of `lot` units."""
        if venues is not self.venues:
            self.venues, self.best = venues, {}
        if buying not in self.best:
            self.best[buying] = best_offer(buying, self.quotes, venues, lot)
        return self.best[buying]


#: An account's limits by value, the capital, and the limit on messages.
LimitKind = tuple[Values, Decimal, int | None]

#: Profiles kept in memory; when there are more they are all made anew.
MAX_PROFILES = 200_000


class RiskMemo:
    """What the gate has gathered, by account, by symbol and by both; `rates` are into the base currency.

    `sums` has the amounts in the base currency that an account's figures are added to: its own, its client's
    and its firm's. `kinds` has the plans by symbol of each different set of limits that accounts have, `made`
    counts them; `scopes` has what the accounts of one client or firm share; `traders` says which traders
    nothing holds back. `books` has the last book seen of a symbol.
    """

    __slots__ = (
        "accounts",
        "books",
        "controls",
        "kinds",
        "made",
        "profiles",
        "rates",
        "scopes",
        "sums",
        "symbols",
        "traders",
    )

    def __init__(self) -> None:
        self.profiles: dict[tuple[str, str], RiskProfile] = {}
        self.accounts: dict[str, AccountProfile] = {}
        self.symbols: dict[str, SymbolProfile] = {}
        self.rates: dict[str, Rate] | None = None
        self.controls: dict[tuple[bool, ...], tuple[Control, ...]] = {}
        self.sums: dict[str, list[Amounts]] = {}
        self.kinds: dict[LimitKind, dict[str, Plan]] = {}
        self.made = 0
        self.scopes: dict[tuple[object, ...], ScopeSheet] = {}
        self.traders: dict[str, bool] = {}
        self.books: dict[str, BookView] = {}

    def clear(self) -> None:
        """A control has changed."""
        self.profiles.clear()
        self.accounts.clear()
        self.symbols.clear()
        self.controls.clear()
        self.sums.clear()
        self.kinds.clear()
        self.made = 0
        self.scopes.clear()
        self.traders.clear()
        self.rates = None


class RiskState(msgspec.Struct, dict=True):
    """Counters and permissions of the controls.

    Attributes:
        cells: exposure by account and symbol; `totals` by account, "CLIENT:…" and "FIRM:…".
        members: client and firm that an account's figures are counted under.
        open: what each open order adds, by order id.
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
    totals: dict[str, Totals] = {}
    members: dict[str, tuple[str, str]] = {}
    open: dict[str, OpenRisk] = {}
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

    @cached_property
    def memo(self) -> RiskMemo:
        """Limits and permissions gathered from the state: derived, not encoded, dropped when one changes."""
        return RiskMemo()

    def cell(self, account: str, symbol: str) -> Cell | None:
        """The account's exposure in a symbol, if it ever had any."""
        by_symbol = self.cells.get(account)
        return by_symbol.get(symbol) if by_symbol is not None else None
