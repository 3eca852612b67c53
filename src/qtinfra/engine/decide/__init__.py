"""Deciding: from state, command, time and market to events. Pure: it reads, and says what shall happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtinfra.core import commands as cmd
from qtinfra.core.market import MarketView
from qtinfra.engine.decide import (
    algos,
    amend,
    book_settings,
    books,
    cash,
    clock,
    control,
    corporate,
    held,
    lists,
    profiles,
    risk_desk,
    routing_desk,
    submit,
    venue,
)
from qtinfra.engine.decide.decision import Decision
from qtinfra.engine.state import State

#: Reads the state, the command, UTC nanoseconds of the decision and what is known of the market (empty means
#: stale), and adds events, in order, and answers (which change nothing) to a new decision. A refusal is an
#: event. Nothing is changed; equal inputs give equal events.
Decide = Callable[[State, Any, int, MarketView, Decision], None]

#: What decides a command, by its kind.
DECIDE: dict[type, Decide] = {
    cmd.SubmitOrder: submit.submit_order,
    cmd.ReplaceOrder: amend.replace_order,
    cmd.CancelOrder: amend.cancel_order,
    cmd.OrderStatusRequest: amend.order_status_request,
    cmd.MassCancel: amend.mass_cancel,
    cmd.RecordVenueReport: venue.record_venue_report,
    cmd.TimerFired: clock.timer_fired,
    cmd.StartEpoch: control.start_epoch,
    cmd.SetReference: control.set_reference,
    cmd.SetLimit: control.set_limit,
    cmd.RestrictSymbol: control.restrict_symbol,
    cmd.SetFxRate: control.set_fx_rate,
    cmd.HaltInstrument: control.halt_instrument,
    cmd.SetVenueStatus: control.set_venue_status,
    cmd.EngageKillSwitch: control.engage_kill_switch,
    cmd.ReleaseKillSwitch: control.release_kill_switch,
    cmd.ResolveUnknown: venue.resolve_unknown,
    cmd.SubmitList: lists.submit_list,
    cmd.MarketMoved: held.market_moved,
    cmd.SetCalendar: corporate.set_calendar,
    cmd.CorporateAction: corporate.corporate_action,
    cmd.SetRiskPolicy: risk_desk.set_risk_policy,
    cmd.ApproveParty: risk_desk.approve_party,
    cmd.GrantLocate: risk_desk.grant_locate,
    cmd.SetPriceTest: risk_desk.set_price_test,
    cmd.EnableAlgo: risk_desk.enable_algo,
    cmd.RequestOverride: risk_desk.request_override,
    cmd.ApproveOverride: risk_desk.approve_override,
    cmd.Unfreeze: control.unfreeze,
    cmd.LoadPosition: books.load_position,
    cmd.SetFeeSchedule: books.set_fee_schedule,
    cmd.LoadCash: books.load_cash,
    cmd.PauseAlgo: algos.pause_algo,
    cmd.ResumeAlgo: algos.resume_algo,
    cmd.SetVolumeCurve: profiles.set_volume_curve,
    cmd.SetMarketProfile: profiles.set_market_profile,
    cmd.SetRoutingPolicy: routing_desk.set_routing_policy,
    cmd.SetVenueLimit: routing_desk.set_venue_limit,
    cmd.SetOrderProtection: routing_desk.set_order_protection,
    cmd.SetRegulatoryFees: book_settings.set_regulatory_fees,
    cmd.PayCash: cash.pay_cash,
    cmd.ExchangeCash: cash.exchange_cash,
    cmd.SetMarkPolicy: book_settings.set_mark_policy,
    cmd.SetMark: book_settings.set_mark,
    cmd.SetRetention: book_settings.set_retention,
}


def decide(state: State, command: cmd.AnyCommand, now_ns: int, market: MarketView) -> Decision:
    """What the command causes. Nothing is changed; equal inputs give equal events.

    Args:
        state: the shard's state; read only.
        command: what is asked.
        now_ns: UTC nanoseconds of the decision.
        market: what is known of the market; empty means stale.

    Returns:
        Events, in order, and answers (which change nothing). A refusal is an event.

    Raises:
        KeyError: no such kind of command.
    """
    decision = Decision(state)
    DECIDE[type(command)](state, command, now_ns, market, decision)
    return decision
