"""Orders of one list count against each other: a leg is checked as if the legs before it were open already.

`Ahead` is what those legs would make of the account's figures, `evolve_risk` by the same rules; the state
itself is not touched. A bracket's exits add nothing to quantity and value, since they only undo what the
entry has executed; they are messages like any others, use up overrides and take of their locates.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from qtinfra.core.commands import SubmitOrder
from qtinfra.core.decimals import ZERO
from qtinfra.core.models import OrderSide
from qtinfra.core.special import SpecialTerms
from qtinfra.core.validation.special import NO_TERMS
from qtinfra.engine.state import State
from qtinfra.risk.checks import RiskPassed
from qtinfra.risk.facts import RiskFacts, RiskProfile, Waivers
from qtinfra.risk.ledger import Amounts, Cell, FlowKey, Sums
from qtinfra.risk.limits import ScopeLimit


class Ahead(msgspec.Struct):
    """The legs before the next one, all of one account and symbol.

    Attributes:
        profile: with the account's figures in the symbol and the scopes' totals as they would be with these
            legs open.
        sells: units that these legs sell.
        flows: what makes each of them a duplicate.
        algos: how often each algo sends with them.
        borrowed: what they take of each locate.
        overrides: those that they use up.
        reference: the price that they were measured against; one decision sees one market.
    """

    profile: RiskProfile
    sells: Decimal = ZERO
    flows: list[FlowKey] = []
    algos: dict[str, int] = {}
    borrowed: dict[str, Decimal] = {}
    overrides: dict[str, bool] = {}
    reference: Decimal | None = None


def begin(profile: RiskProfile) -> Ahead:
    """No leg yet."""
    return Ahead(profile)


def add_leg(state: State, ahead: Ahead, order: SubmitOrder, verdict: RiskPassed, adds: Decimal) -> None:
    """Count an approved leg.

    Args:
        adds: units that it adds to what is open.
    """
    terms = order.special or NO_TERMS
    value = adds * _price(state, order, terms, verdict) * ahead.profile.multiplier
    if order.side is OrderSide.BUY:
        ahead.profile = _grown(ahead.profile, adds, ZERO, value, ZERO)
    else:
        ahead.sells += adds
        ahead.profile = _grown(ahead.profile, ZERO, adds, ZERO, value)
        if terms.locate_id:
            ahead.borrowed[terms.locate_id] = ahead.borrowed.get(terms.locate_id, ZERO) + order.qty
    ahead.flows.append((order.account, order.symbol, order.side._value_, order.qty, order.price))
    if terms.algo:
        ahead.algos[terms.algo] = ahead.algos.get(terms.algo, 0) + 1
    ahead.reference = verdict.reference
    ahead.overrides.update(dict.fromkeys(verdict.overrides, True))


def _price(state: State, order: SubmitOrder, terms: SpecialTerms, verdict: RiskPassed) -> Decimal:
    """What the leg will be valued at once it is open."""
    for price in (order.price, terms.stop_px, verdict.reference, state.risk.marks.get(order.symbol)):
        if price is not None:
            return price
    return ZERO


def _grown(profile: RiskProfile, buy: Decimal, sell: Decimal, bought: Decimal, sold: Decimal) -> RiskProfile:
    """The profile when more is open: by units, and by value in the instrument's currency."""
    cell, limits = profile.cell, profile.limits
    held, buys, sells = cell.held, cell.buy_value + bought, cell.sell_value + sold
    gross = max(abs(held + buys), abs(sells - held))
    more = Amounts(gross - cell.gross, bought, sold)
    grown = msgspec.structs.replace(
        limits,
        gross=tuple(_scope(limit, profile.currency, more) for limit in limits.gross),
        net=tuple(_scope(limit, profile.currency, more) for limit in limits.net),
        credit=tuple(_scope(limit, profile.currency, more) for limit in limits.credit),
    )
    return msgspec.structs.replace(
        profile,
        limits=grown,
        cell=Cell(cell.position, cell.mark, cell.buy + buy, cell.sell + sell, held, buys, sells, gross),
    )


def _scope(limit: ScopeLimit, currency: str, more: Amounts) -> ScopeLimit:
    if not currency:
        return msgspec.structs.replace(limit, home=_sum(limit.home, more))
    others = {**limit.foreign, currency: _sum(limit.foreign.get(currency, Amounts()), more)}
    return msgspec.structs.replace(limit, foreign=others)


def _sum(known: Amounts | Sums, more: Amounts) -> Amounts:
    return Amounts(
        known.gross + more.gross,
        known.long + more.long,
        known.short + more.short,
        known.traded,
    )


def count_ahead(facts: RiskFacts, ahead: Ahead, worth: Decimal | None) -> None:
    """Add the legs before to the facts that are not in the profile: windows, algos, locates, overrides."""
    _count_flow(facts, ahead, worth)
    facts.rival_sell = ahead.sells
    if facts.algo is not None:
        executions = facts.algo.executions + ahead.algos.get(facts.algo.algo, 0)
        facts.algo = msgspec.structs.replace(facts.algo, executions=executions)
    if facts.short is not None and facts.short.locate is not None:
        left = facts.short.locate.left - ahead.borrowed.get(facts.short.locate_id, ZERO)
        locate = msgspec.structs.replace(facts.short.locate, left=left)
        facts.short = msgspec.structs.replace(facts.short, locate=locate)
    if facts.waivers is not None:
        left_over = {key: value for key, value in facts.waivers.known.items() if key not in ahead.overrides}
        facts.waivers = Waivers(left_over)


def _count_flow(facts: RiskFacts, ahead: Ahead, worth: Decimal | None) -> None:
    limits = facts.limits
    if limits.messages is not None or limits.book_messages is not None:
        sent = [facts.now_ns] * len(ahead.flows)
        facts.messages = [*(facts.messages or ()), *sent]
        facts.book_messages = [*(facts.book_messages or ()), *sent]
    price = facts.price if facts.price is not None else worth
    key = (facts.profile.account, facts.profile.symbol, facts.side._value_, facts.qty, price)
    facts.duplicates += ahead.flows.count(key)
    seen = ahead.reference
    if limits.period_collar is None or seen is None:
        return
    if facts.buying:
        facts.drift_low = seen if facts.drift_low is None else min(facts.drift_low, seen)
    else:
        facts.drift_high = seen if facts.drift_high is None else max(facts.drift_high, seen)
