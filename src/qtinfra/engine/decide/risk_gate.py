"""From state and request to the facts that the risk controls read, and to their verdict."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ONE, ZERO, plain, quotient
from qtinfra.core.decisions import Refusal, RiskApproved, RiskRefused
from qtinfra.core.events import AlgoDisabled, OverrideUsed
from qtinfra.core.extended_models import ANY, KillScope, PartyKind
from qtinfra.core.market import ConsolidatedBook, MarketView
from qtinfra.core.models import AssetClass, Order, OrderSide, OrderType, TimeInForce
from qtinfra.core.reports import REJ_EXCEEDS_LIMIT
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.algo import special_of
from qtinfra.engine.decide.ahead import Ahead, count_ahead
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.price_test import has_fallen
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.risk_state import MAX_PROFILES, BookView
from qtinfra.engine.risk_sums import open_price, place_of, scope_keys, totals_of
from qtinfra.engine.state import State
from qtinfra.positions.fx import Conversion, conversion
from qtinfra.risk.checks import (
    PERMISSIONS,
    RiskFacts,
    RiskPassed,
    RiskProfile,
    approve,
    controls_for,
    signature,
)
from qtinfra.risk.facts import AccountProfile, AlgoFacts, Rate, ShortFacts, SymbolProfile, Waivers, in_base
from qtinfra.risk.ledger import AlgoRun, Cell
from qtinfra.risk.limits import Scope, account_limits, combined, symbol_limits, tightest
from qtinfra.risk.sheet import Fits, scope_sheets

_BUY = OrderSide.BUY
_SHORT_SALE_CLASSES = (AssetClass.EQUITY, AssetClass.ETF)
_HALF = Decimal("0.5")

# Members by name: looking them up in their class costs more than comparing them.
_OF_TRADER, _OF_ALGO = KillScope.TRADER, KillScope.ALGO
_TRADER, _ALGO = PartyKind.TRADER, PartyKind.ALGO


# --- the market ------------------------------------------------------------------------------------------


def reference_price(state: State, market: MarketView, symbol: str, now_ns: int = 0) -> Decimal | None:
    """The live market's midpoint, else the last journaled reference price while it is fresh.

    None when the feed says that it is not live, or when the journaled price is older than the policy allows.
    A quote does not age as long as its feed is live.
    """
    return reference_in(state, market.book(symbol), symbol, now_ns)


def view_of(state: State, book: ConsolidatedBook) -> BookView:
    """What decisions read of a book, found once for all that look at the same book."""
    books = state.risk.memo.books
    known = books.get(book.symbol)
    if known is None or known.book is not book:
        bid, ask = book.touch()
        mid = (bid + ask) * _HALF if bid is not None and ask is not None and bid <= ask else None
        quotes = {quote.venue: quote for quote in book.quotes if quote.live}
        known = books[book.symbol] = BookView(book, bid, ask, mid, quotes)
    return known


def reference_in(state: State, book: ConsolidatedBook | None, symbol: str, now_ns: int) -> Decimal | None:
    """`reference_price` of a book at hand."""
    if book is not None and book.quotes:
        view = view_of(state, book)
        if not view.quotes:
            return None
        if view.mid is not None:
            return view.mid
    age = state.risk.policy.reference_max_age_ns
    if age and now_ns - state.risk.reference_ns.get(symbol, 0) > age:
        return None
    return state.reference_prices.get(symbol)


# --- permissions -----------------------------------------------------------------------------------------


def engaged_kill(state: State, account: str, symbol: str, trader: str, algo: str = "") -> str:
    """The kill switch that covers such an order, as filed; empty when none does."""
    if not state.kills:
        return ""
    known = state.accounts.get(account)
    scopes = [
        (KillScope.FIRM, ""),
        (KillScope.ACCOUNT, account),
        (KillScope.SYMBOL, symbol),
        (KillScope.TRADER, trader),
        (KillScope.ALGO, algo),
    ]
    if known is not None:
        scopes += [(KillScope.CLIENT, known.client), (KillScope.DESK, known.desk)]
    for scope, value in scopes:
        key = kill_key(scope, value)
        if key in state.kills and (value or scope is KillScope.FIRM):
            return key
    return ""


def _killed_party(state: State, trader: str, algo: str) -> str:
    """The kill switch on a trader or algo, as filed; empty when none is. Profiles know the other scopes'."""
    kills = state.kills
    if trader and (key := kill_key(_OF_TRADER, trader)) in kills:
        return key
    if algo and (key := kill_key(_OF_ALGO, algo)) in kills:
        return key
    return ""


def unapproved(state: State, trader: str, algo: str) -> str:
    """The trader or algo that the policy wants approved and that is not, as "TRADER:bob"; empty if none.

    An order always has a trader; it has an algo only when it names one.
    """
    approved_only, approved = state.risk.policy.approved_only, state.risk.approved
    if _TRADER in approved_only and trader not in approved.get("TRADER", {}):
        return f"TRADER:{trader}"
    if algo and _ALGO in approved_only and algo not in approved.get("ALGO", {}):
        return f"ALGO:{algo}"
    return ""


# --- profiles --------------------------------------------------------------------------------------------


def profile_of(state: State, account: str, symbol: str) -> RiskProfile:
    """What is fixed for the account and symbol; gathered once, and again after a control has changed."""
    memo = state.risk.memo
    found = memo.profiles.get((account, symbol))
    if found is None:
        if len(memo.profiles) >= MAX_PROFILES:
            memo.profiles.clear()
        found = memo.profiles[account, symbol] = _gather(state, account, symbol)
    return found


def _gather(state: State, account: str, symbol: str) -> RiskProfile:
    memo = state.risk.memo
    of = memo.accounts.get(account)
    if of is None:
        of = memo.accounts[account] = _of_account(state, account)
    to = memo.symbols.get(symbol)
    if to is None:
        to = memo.symbols[symbol] = _of_symbol(state, symbol)
    if memo.rates is None:
        memo.rates = _rates(state)
    limits = combined(state.limits, account, symbol, of.limits, to.limits)
    listed, cell = to.restricted_for, state.risk.cell(account, symbol)
    profile = RiskProfile(
        account,
        symbol,
        limits,
        (),
        to.multiplier,
        to.currency,
        memo.rates,
        cell or Cell(),
        limits.price_collar is not None or limits.period_collar is not None,
        to.short_sale,
        bool(listed) and any(name in listed for name in of.subjects),
        listed,
        of.killed or to.killed,
        of.frozen,
        of.unapproved,
    )
    signed = signature(profile)
    controls = memo.controls.get(signed)
    if controls is None:
        approvals, kills = bool(state.risk.policy.approved_only), bool(state.kills)
        controls = memo.controls[signed] = controls_for(signed, approvals=approvals, kills=kills)
    profile.controls = controls
    if cell is None:
        place = memo.of_accounts.get(account) or place_of(state, account)
        if place.awaiting is None:
            place.awaiting = {}
        place.awaiting[symbol] = profile
    return profile


def _of_account(state: State, account: str) -> AccountProfile:
    risk, keys = state.risk, scope_keys(state, account)
    scopes = tuple(
        Scope(key, every, totals_of(state, key))
        for key, every in zip(keys, (ANY, "CLIENT:*", "FIRM:*"), strict=True)
    )
    needed = PartyKind.ACCOUNT in risk.policy.approved_only
    missing = needed and account not in risk.approved.get("ACCOUNT", {})
    limits = account_limits(state.limits, account, scopes)
    killed, frozen = engaged_kill(state, account, "", ""), state.frozen.get(account, "")
    known = state.accounts[account]
    return AccountProfile(
        limits,
        (ANY, account, keys[1], f"DESK:{known.desk}"),
        killed,
        frozen,
        f"ACCOUNT:{account}" if missing else "",
        not (killed or frozen or missing or limits.pairs) and known.enabled,
        known.base_currency is risk.policy.base_currency,
        scope_sheets(limits, risk.memo.scopes),
    )


def _of_symbol(state: State, symbol: str) -> SymbolProfile:
    policy, instrument = state.risk.policy, state.instruments[symbol]
    key = kill_key(KillScope.SYMBOL, symbol)
    killed = key if key in state.kills else ""
    currency = instrument.currency.value if instrument.currency is not policy.base_currency else ""
    short_sale = policy.short_sale and instrument.asset_class in _SHORT_SALE_CLASSES
    restricted_for = state.restricted.get(symbol, {})
    return SymbolProfile(
        symbol_limits(state.limits, symbol),
        instrument.multiplier,
        currency,
        short_sale,
        restricted_for,
        killed,
        not (killed or currency or restricted_for),
        Fits(),
    )


def _rates(state: State) -> dict[str, Rate]:
    """Rates into the base currency of the currencies that instruments are in, from the journaled ones.

    A rate that only comes from an inverse or a cross is rounded half-even to 8 places; it is as old as the
    oldest rate that has anything to do with the currency.
    """
    policy, found = state.risk.policy, {}
    for currency in dict.fromkeys(known.currency for known in state.instruments.values()):
        if currency is policy.base_currency:
            continue
        way = conversion(state.fx_rates, currency, policy.base_currency)
        if not isinstance(way, Conversion):
            continue
        rate = way.num if way.den == ONE else quotient(way.num, way.den)
        until = 0
        if policy.fx_max_age_ns:
            pairs = [pair for pair in state.fx_rates if currency in pair.split("/")]
            until = policy.fx_max_age_ns + min(state.risk.fx_ns.get(pair, 0) for pair in pairs)
        found[currency.value] = Rate(rate, until)
    return found


# --- the gate --------------------------------------------------------------------------------------------


def gate(
    state: State,
    market: MarketView,
    *,
    account: str,
    trader: str,
    symbol: str,
    side: OrderSide,
    order_type: OrderType,
    tif: TimeInForce,
    qty: Decimal,
    adds: Decimal,
    price: Decimal | None,
    min_qty: Decimal,
    now_ns: int = 0,
    special: SpecialTerms | None = None,
    order: Order | None = None,
    worth: Decimal | None = None,
    ahead: Ahead | None = None,
) -> RiskPassed | RiskRefused:
    """Run every control on a request that adds `adds` to what is open and makes `qty` in total.

    Args:
        special: the terms beyond a plain order: trigger, locate, algo.
        order: the order that a replace is about; None for a new one.
        worth: price that values an order without `price`; None for its trigger, else the reference.
        ahead: the orders of the same list before this one; they count as if they were open.
    """
    risk = state.risk
    if ahead is None:
        profile = risk.memo.profiles.get((account, symbol)) or profile_of(state, account, symbol)
    else:
        profile = ahead.profile
    cell, buying = profile.cell, side is _BUY
    facts = RiskFacts(
        profile, profile.limits, side, buying, order_type, tif, qty, adds, price, min_qty, now_ns,
        cell.position, cell.buy, cell.sell,
    )  # fmt: skip
    facts.trader = trader
    facts.new = order is None
    measure = price if price is not None else worth
    if measure is None and special is not None:
        measure = special.stop_px
    if measure is None or profile.needs_reference:
        facts.reference = reference_in(state, market.book(symbol), symbol, now_ns)
        if measure is None:
            measure = facts.reference
    if measure is not None:
        value = facts.order_value = qty * measure * profile.multiplier
        if order is not None:
            value = _of_replace(facts, order, measure)
        elif adds is not qty:
            value = adds * measure * profile.multiplier
        facts.value = value
        facts.base_value = in_base(facts, value) if profile.currency else value
        held, opened = cell.held, cell.buy_value if buying else cell.sell_value
        facts.worst = abs((opened + held if buying else opened - held) + value)
    _windows(state, facts, worth)
    if special is not None or profile.short_sale or (trader and not risk.memo.traders.get(trader)):
        _parties(state, market, facts, special)
    elif not trader and _TRADER in risk.policy.approved_only:
        facts.unapproved = unapproved(state, "", "")
    if risk.overrides and order is None:
        facts.waivers = Waivers(risk.overrides)
    if ahead is not None:
        count_ahead(facts, ahead, worth)
    return approve(facts, profile.controls)


def _of_replace(facts: RiskFacts, order: Order, measure: Decimal) -> Decimal:
    """A replace adds the difference of value: of the larger quantity at the larger of the two prices."""
    price = open_price(order)
    larger = price if price is not None and price > measure else measure
    value = (order.reserved + facts.adds) * larger * facts.profile.multiplier
    return max(ZERO, value - order.open_value) if order.reserved else value


def _windows(state: State, facts: RiskFacts, worth: Decimal | None) -> None:
    """Counters over a period; only those that have a limit. A stop-limit's limit price is its `worth`."""
    risk, profile, now_ns = state.risk, facts.profile, facts.now_ns
    limits, policy = facts.limits, risk.policy
    if limits.messages is not None or limits.book_messages is not None:
        facts.messages = risk.messages.get(profile.account)
        facts.book_messages = risk.book_messages.get(profile.symbol)
        facts.message_since_ns = now_ns - policy.message_window_ns
    if limits.duplicates is not None and facts.new:
        price = facts.price if facts.price is not None else worth
        key = (profile.account, profile.symbol, facts.side._value_, facts.qty, price)
        facts.duplicates = risk.flow.seen(key, now_ns - policy.duplicate_window_ns)
    if limits.period_collar is not None:
        drift = risk.drift.get(profile.symbol)
        if drift is not None:
            since = now_ns - policy.drift_window_ns
            if facts.buying:
                facts.drift_low = drift.low(since)
            else:
                facts.drift_high = drift.high(since)


def _parties(state: State, market: MarketView, facts: RiskFacts, special: SpecialTerms | None) -> None:
    """Trader, algo, locate."""
    risk, profile = state.risk, facts.profile
    algo, locate_id = (special.algo, special.locate_id) if special is not None else ("", "")
    if state.kills:
        facts.killed = _killed_party(state, facts.trader, algo)
    if risk.policy.approved_only:
        facts.unapproved = unapproved(state, facts.trader, algo)
    if algo:
        run = risk.algos.get(algo) or AlgoRun()
        limit = tightest(state.limits, "algo_executions", f"ALGO:{algo}", ANY, "ALGO:*")
        facts.algo = AlgoFacts(algo, run.executions, None if limit is None else int(limit), run.disabled)
    if profile.short_sale and not facts.buying:
        tested = profile.symbol in risk.price_tests
        book = market.book(profile.symbol) if tested or profile.symbol in risk.closes else None
        tested = tested or (book is not None and has_fallen(state, profile.symbol, book.mid()))
        bid = _best_bid(book) if tested else None
        facts.short = ShortFacts(bid, tested, locate_id, risk.locates.get(locate_id), state.trade_date)


def check_stop_risk(
    state: State,
    account: str,
    symbol: str,
    side: OrderSide,
    qty: Decimal,
    price: Decimal | None,
    terms: SpecialTerms | None,
) -> Refusal | None:
    """A stop's value counts at its stop price, and a stop-limit's limit is measured from there, since that is
    where the market will be when it goes out."""
    if terms is None or terms.stop_px is None:
        return None
    limits = profile_of(state, account, symbol).limits
    worth = price if price is not None else terms.stop_px
    value = qty * worth * state.instruments[symbol].multiplier
    if limits.max_order_value is not None and value > limits.max_order_value:
        return _over("max_order_value", "quantity", limits.max_order_value, value)
    if limits.price_collar is None:
        return None
    buying = side is _BUY
    bound = terms.stop_px * (ONE + limits.price_collar if buying else ONE - limits.price_collar)
    if worth > bound if buying else worth < bound:
        return _over("price_collar", "price", bound, worth)
    return None


def _over(code: str, field: str, limit: Decimal, observed: Decimal) -> Refusal:
    text = f"{code}: {plain(observed)} is beyond the limit {plain(limit)}"
    return Refusal(code, text, field, plain(limit), plain(observed), REJ_EXCEEDS_LIMIT)


def _best_bid(book: ConsolidatedBook | None) -> Decimal | None:
    return book.best_bid() if book is not None else None


def reapprove(state: State, order: Order, qty: Decimal) -> RiskApproved | RiskRefused:
    """For quantity that is counted already and goes to another venue: permissions bind children alike."""
    profile = profile_of(state, order.account, order.symbol)
    facts = RiskFacts(
        profile,
        profile.limits,
        order.side,
        order.side is _BUY,
        order.order_type,
        order.tif,
        order.qty,
        qty,
        order.price,
        order.min_qty,
        0,
        ZERO,
        ZERO,
        ZERO,
        trader=order.trader,
    )
    algo = order.special.algo if order.special is not None else ""
    facts.killed = engaged_kill(state, order.account, order.symbol, order.trader, algo)
    facts.unapproved = unapproved(state, order.trader, algo)
    facts.frozen = state.frozen.get(order.order_id, "")
    return approve(facts, PERMISSIONS)


# --- what a verdict entails ------------------------------------------------------------------------------


def use_overrides(verdict: RiskApproved, account: str, cl_ord_id: str, out: Decision) -> None:
    """Use up the overrides that an approval rests on; before the order's own event."""
    for override_id in verdict.overrides if isinstance(verdict, RiskPassed) else ():
        out.add(OverrideUsed(override_id, account, cl_ord_id))


def seen_reference(verdict: RiskApproved) -> Decimal | None:
    """The reference price that an approval was measured against."""
    return verdict.reference if isinstance(verdict, RiskPassed) else None


def stop_algo(command: SubmitOrder, refusal: Refusal, now_ns: int, out: Decision) -> None:
    """An algo that asked for more executions than it has is disabled, until staff re-enable it."""
    special = special_of(command)
    if special is not None:
        out.add(AlgoDisabled(special.algo, refusal.text, now_ns))
