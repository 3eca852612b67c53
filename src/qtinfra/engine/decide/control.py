"""Reference data, limits, halts, venue links and kill switches."""

from __future__ import annotations

from decimal import Decimal

from qtinfra.core.commands import (
    EngageKillSwitch,
    HaltInstrument,
    ReleaseKillSwitch,
    RestrictSymbol,
    SetFxRate,
    SetLimit,
    SetReference,
    SetVenueStatus,
    StartEpoch,
    Unfreeze,
)
from qtinfra.core.decimals import ZERO
from qtinfra.core.events import (
    BreakRaised,
    ChildUnknown,
    CommandRefused,
    EpochStarted,
    FxRateSet,
    InstrumentHalted,
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitSet,
    OrderReinstated,
    OrderSuspended,
    ReferenceSet,
    SymbolRestricted,
    Unfrozen,
    VenueStatusSet,
)
from qtinfra.core.extended_models import (
    ANY,
    Account,
    HaltPolicy,
    KillScope,
    PartyKind,
    RestrictedPolicy,
    VenueStatus,
)
from qtinfra.core.market import MarketView
from qtinfra.core.models import Child, ChildStatus, Order, Origin
from qtinfra.core.validation.reference import wrong_instrument
from qtinfra.engine.decide.algo_replacing import recall
from qtinfra.engine.decide.amend import cancel_if_open
from qtinfra.engine.decide.book_settings import wrong_pnl_terms
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.decide.price_test import trigger_if_fallen
from qtinfra.engine.decide.risk_desk import is_risk_staff, wrong_count, wrong_limit
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.state import State


def _refuse(out: Decision, code: str, field: str, limit: str, observed: str, text: str) -> None:
    out.add(CommandRefused("", "", code, field, limit, observed, text))


def start_epoch(state: State, command: StartEpoch, now_ns: int, market: MarketView, out: Decision) -> None:
    del now_ns, market
    if command.epoch <= state.epoch:
        text = f"epoch {command.epoch} does not follow {state.epoch}"
        _refuse(out, "stale_epoch", "epoch", str(state.epoch), str(command.epoch), text)
        return
    out.add(EpochStarted(command.epoch, command.owner))


def set_reference(
    state: State, command: SetReference, now_ns: int, market: MarketView, out: Decision
) -> None:
    """All or nothing: one wrong record refuses the command."""
    del market
    known = {venue.mic for venue in command.venues}.union(state.venues)
    for venue in command.venues:
        if not (venue.take_fee.is_finite() and venue.make_fee.is_finite()):
            text = f"fees of {venue.mic} must be finite numbers"
            _refuse(out, "bad_reference", "venues", "", venue.mic, text)
            return
    for instrument in command.instruments:
        wrong = wrong_instrument(instrument)
        missing = [mic for mic in instrument.listings if mic not in known]
        if wrong or missing:
            text = f"instrument {instrument.symbol}: {wrong or 'unknown venue ' + missing[0]}"
            _refuse(out, "bad_reference", "instruments", "", instrument.symbol, text)
            return
    for symbol, price in command.prices:
        if not price.is_finite() or price <= ZERO:
            text = f"reference price of {symbol} must be positive"
            _refuse(out, "must_be_positive", "prices", "0", str(price), text)
            return
    for account in command.accounts:
        wrong = wrong_pnl_terms(state, account)
        if account.policies.self_match and not account.firm:
            wrong = f"{account.account} prevents self-matches of its firm and names none"
        if wrong:
            _refuse(out, "bad_reference", "accounts", "", account.account, wrong)
            return
    out.add(ReferenceSet(command.instruments, command.accounts, command.venues, command.prices, now_ns))
    for symbol, price in command.prices:
        trigger_if_fallen(state, symbol, price, "reference", now_ns, out)


def set_limit(state: State, command: SetLimit, now_ns: int, market: MarketView, out: Decision) -> None:
    """Limits are versioned; when the policy says so, only approved risk staff set them."""
    del now_ns, market
    value: Decimal | None = command.value
    if PartyKind.RISK_STAFF in state.risk.policy.approved_only and not is_risk_staff(state, command.author):
        text = f"{command.author[:40]!r} may not set limits"
        _refuse(out, "unauthorised", "author", PartyKind.RISK_STAFF, command.author[:60], text)
        return
    if value is not None and (not value.is_finite() or value < ZERO):
        text = f"limit {command.rule} must not be negative"
        _refuse(out, "must_not_be_negative", "value", "0", str(value), text)
        return
    wrong = wrong_limit(command.rule, command.account, command.symbol) or wrong_count(command.rule, value)
    if wrong:
        _refuse(out, "bad_limit", "rule", "", command.rule, wrong)
        return
    out.add(LimitSet(command.rule, value, command.account, command.symbol, command.author, command.reason))


def restrict_symbol(
    state: State, command: RestrictSymbol, now_ns: int, market: MarketView, out: Decision
) -> None:
    """New flow stops at once; open orders in the symbol are cancelled or flagged, as the policy says."""
    del market
    out.add(SymbolRestricted(command.symbol, command.account, command.restricted))
    if not command.restricted:
        return
    cancels = state.risk.policy.restricted_orders is RestrictedPolicy.CANCEL
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if order.symbol != command.symbol or not order.open or not _listed(state, order, command.account):
            continue
        if cancels:
            cancel_if_open(state, order, Origin.SYSTEM, "restricted list", now_ns, out)
        else:
            text = f"{command.symbol} is restricted while the order is open"
            out.add(BreakRaised("restricted_order", order_id, command.symbol, text))


def _listed(state: State, order: Order, who: str) -> bool:
    """Whether a restriction for `who` covers the order."""
    known = state.accounts[order.account]
    names = (ANY, order.account, f"CLIENT:{known.client}", f"DESK:{known.desk}", f"TRADER:{order.trader}")
    return who in names


def set_fx_rate(state: State, command: SetFxRate, now_ns: int, market: MarketView, out: Decision) -> None:
    del state, market
    if not command.rate.is_finite() or command.rate <= ZERO:
        text = f"rate {command.base}/{command.quote} must be positive"
        _refuse(out, "must_be_positive", "rate", "0", str(command.rate), text)
        return
    out.add(FxRateSet(command.base, command.quote, command.rate, now_ns))


def halt_instrument(
    state: State, command: HaltInstrument, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Halt or resume: each open order is cancelled or suspended by its account's policy; algos pause."""
    del market
    if command.symbol not in state.instruments:
        text = f"symbol {command.symbol[:24]!r} is not known"
        _refuse(out, "unknown_symbol", "symbol", "", command.symbol, text)
        return
    if command.halted == (command.symbol in state.halted):
        return
    out.add(InstrumentHalted(command.symbol, command.halted, command.reason))
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if order.symbol != command.symbol or not order.open:
            continue
        if not command.halted:
            if order.suspended:
                out.add(OrderReinstated(order_id, command.reason or "trading resumed", now_ns))
        elif order.algo is not None or state.policies(order.account).halt is HaltPolicy.SUSPEND:
            out.add(OrderSuspended(order_id, command.reason or "trading halt", now_ns))
        else:
            cancel_if_open(state, order, Origin.SYSTEM, "trading halt", now_ns, out)


def set_venue_status(
    state: State, command: SetVenueStatus, now_ns: int, market: MarketView, out: Decision
) -> None:
    """A link that breaks puts everything in flight there in doubt; nothing is sent again."""
    del market
    if command.venue not in state.venues:
        text = f"venue {command.venue[:24]!r} is not known"
        _refuse(out, "unknown_venue", "venue", "", command.venue, text)
        return
    out.add(VenueStatusSet(command.venue, command.status, command.reason))
    if command.status is not VenueStatus.DISCONNECTED:
        return
    for order_id in state.open_orders:
        order = state.orders[order_id]
        for child in (state.children[child_id] for child_id in order.children):
            if child.venue == command.venue and _in_flight(child):
                why = command.reason or "venue disconnected"
                out.add(ChildUnknown(child.venue, 0, child.child_id, order_id, why, now_ns))


def _in_flight(child: Child) -> bool:
    """Whether a message about it may be lost: the order itself, a cancel or a replace."""
    if child.status is ChildStatus.UNKNOWN:
        return False
    return child.status is ChildStatus.SENT or bool(child.cancel_id or child.replace_id)


def engage_kill_switch(
    state: State, command: EngageKillSwitch, now_ns: int, market: MarketView, out: Decision
) -> None:
    """Block new flow of the scope and ask for the cancel of all that is open in it.

    A parent that an algo works only loses what a killed venue holds: it goes on elsewhere.
    """
    del market
    if command.scope is not KillScope.FIRM and not command.value:
        text = f"a kill switch for {command.scope} must name which"
        _refuse(out, "value_required", "value", "", "", text)
        return
    if kill_key(command.scope, command.value) not in state.kills:
        out.add(KillSwitchEngaged(command.scope, command.value, command.reason))
    for order_id in state.open_orders:
        order = state.orders[order_id]
        if command.scope is KillScope.VENUE and order_id in state.algos.parents:
            there = [child for child in state.working_children(order) if child.venue == command.value]
            recall(state, order, tuple(child.child_id for child in there), "kill switch", now_ns, out)
        elif _killed(state, order, state.accounts[order.account], command):
            cancel_if_open(state, order, Origin.SYSTEM, "kill switch", now_ns, out)


def _killed(state: State, order: Order, account: Account, command: EngageKillSwitch) -> bool:
    scope, value = command.scope, command.value
    if scope is KillScope.VENUE:
        return any(child.venue == value for child in state.working_children(order))
    subject = {
        KillScope.FIRM: value,
        KillScope.ACCOUNT: order.account,
        KillScope.SYMBOL: order.symbol,
        KillScope.TRADER: order.trader,
        KillScope.CLIENT: account.client,
        KillScope.DESK: account.desk,
        KillScope.ALGO: order.special.algo if order.special is not None else "",
    }
    return subject[scope] == value


def unfreeze(state: State, command: Unfreeze, now_ns: int, market: MarketView, out: Decision) -> None:
    del now_ns, market
    if command.subject not in state.frozen:
        text = "nothing of this name is frozen"
        _refuse(out, "not_frozen", "subject", "", command.subject, text)
        return
    out.add(Unfrozen(command.subject, command.reason))


def release_kill_switch(
    state: State, command: ReleaseKillSwitch, now_ns: int, market: MarketView, out: Decision
) -> None:
    del now_ns, market
    if kill_key(command.scope, command.value) not in state.kills:
        text = "no such kill switch is engaged"
        _refuse(out, "not_engaged", "value", "", kill_key(command.scope, command.value), text)
        return
    out.add(KillSwitchReleased(command.scope, command.value, command.reason))
