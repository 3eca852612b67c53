"""The engine as the conformance scripts see it: one account, one instrument, one venue that does as told.

Every record is decided, audited, encoded and decided again from its recorded inputs, so that a script also
proves replay.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    HaltInstrument,
    Inbound,
    OrderStatusRequest,
    RecordVenueReport,
    ReplaceOrder,
    SetReference,
    SetVenueStatus,
    StartEpoch,
    SubmitOrder,
    TimerFired,
    TimerKind,
)
from qtinfra.core.decimals import ONE, ZERO
from qtinfra.core.events import Entry
from qtinfra.core.extended_models import (
    Account,
    AckPolicy,
    ChainedReplace,
    HaltPolicy,
    Instrument,
    Policies,
    TickBand,
    Venue,
    VenueStatus,
)
from qtinfra.core.market import NO_MARKET
from qtinfra.core.models import AssetClass, Child, Currency, OrderSide, OrderType, Origin, TimeInForce
from qtinfra.core.reports import (
    Effect,
    ExecutionReport,
    OrderCancelReject,
    ReportKind,
    VenueCancel,
    VenueNewOrder,
    VenueReplace,
    VenueReport,
)
from qtinfra.engine.audit import audit
from qtinfra.engine.invariants import invariant
from qtinfra.engine.kernel import Kernel, decide_again, replay
from qtinfra.engine.state import State, state_hash

ACCOUNT, SYMBOL, VENUE = "conformance", "TEST", "XTST"
DAYS = ("2024-01-08", "2024-01-09", "2024-01-10", "2024-01-11", "2024-01-12")
_START_NS = 1_704_722_400_000_000_000


def make_rig(policy: dict[str, str]) -> EngineRig:
    """A fresh engine under the policies that a script names.

    Raises:
        ValueError: a policy or value that does not exist.
    """
    unknown = [name for name in policy if name not in ("ack", "chained_replace", "halt")]
    if unknown:
        raise ValueError(f"unknown policy: {', '.join(unknown)}")
    return EngineRig(
        Policies(
            ack=AckPolicy(policy.get("ack", "on_venue")),
            chained_replace=ChainedReplace(policy.get("chained_replace", "reject")),
            halt=HaltPolicy(policy.get("halt", "cancel")),
        )
    )


class EngineRig:
    """Implements `scenarios.Rig` on the real kernel."""

    def __init__(self, policies: Policies) -> None:
        self.reports: deque[ExecutionReport | OrderCancelReject] = deque()
        self.entries: list[Entry] = []
        self.kernel = Kernel(State())
        self._shadow = State()
        self._again = Kernel(State())
        self._now_ns = _START_NS
        self._seq = 0
        self._day = 0
        self._venue_ids: dict[str, str] = {}
        self._set_up(policies)

    @property
    def state(self) -> State:
        return self.kernel.state

    def _set_up(self, policies: Policies) -> None:
        listing = Instrument(
            SYMBOL, AssetClass.EQUITY, Currency.USD, (VENUE,), (TickBand(ZERO, Decimal("0.01")),), ONE
        )
        account = Account(ACCOUNT, client="client", base_currency=Currency.USD, policies=policies)
        venue = Venue(VENUE, "scripted venue", Currency.USD)
        self._run(StartEpoch(1, "conformance"))
        self._run(SetReference((listing,), (account,), (venue,)))
        self._run(TimerFired(TimerKind.DAY_OPEN, DAYS[0]))
        self._run(SetVenueStatus(VENUE, VenueStatus.CONNECTED))

    def _run(self, command: AnyCommand) -> None:
        self._now_ns += 1_000_000
        outcome = self.kernel.execute(Inbound(command, "conformance"), self._now_ns, NO_MARKET)
        if outcome.entry is not None:
            self.entries.append(outcome.entry)
            replay(self._shadow, outcome.entry)
            invariant(decide_again(self._again, outcome.entry) == outcome.entry, "a record decides equal")
        broken = audit(self.state)
        invariant(not broken, "the state is sound", *broken)
        invariant(state_hash(self.state) == state_hash(self._shadow), "replay gives the same state")
        for effect in outcome.effects:
            self._take(effect)

    def _take(self, effect: Effect) -> None:
        if isinstance(effect, ExecutionReport | OrderCancelReject):
            self.reports.append(effect)
        elif isinstance(effect, VenueNewOrder):
            order = self.state.orders[self.state.children[effect.cl_ord_id].order_id]
            self._venue_ids[order.cl_ord_id] = effect.cl_ord_id
        elif isinstance(effect, VenueCancel | VenueReplace):
            order = self.state.orders[self.state.children[self._child_of(effect.cl_ord_id)].order_id]
            pending = order.pending_cancel if isinstance(effect, VenueCancel) else order.pending_replace
            if pending is not None and pending.cl_ord_id:
                self._venue_ids[pending.cl_ord_id] = effect.cl_ord_id

    def _child_of(self, venue_id: str) -> str:
        return self.state.venue_ids[venue_id]

    # --- client and staff ---

    def client_new(
        self, cl_ord_id: str, qty: Decimal, px: Decimal | None, tif: TimeInForce, poss_resend: bool
    ) -> None:
        self._run(self._new(cl_ord_id, qty, px, tif, Origin.CLIENT, poss_resend))

    def _new(
        self,
        cl_ord_id: str,
        qty: Decimal,
        px: Decimal | None,
        tif: TimeInForce,
        origin: Origin,
        poss_resend: bool = False,
    ) -> SubmitOrder:
        order_type = OrderType.LIMIT if px is not None else OrderType.MARKET
        return SubmitOrder(
            ACCOUNT,
            cl_ord_id,
            SYMBOL,
            OrderSide.BUY,
            order_type,
            tif,
            qty,
            px,
            origin=origin,
            poss_resend=poss_resend,
        )

    def client_cancel(self, cl_ord_id: str, orig_cl_ord_id: str) -> None:
        self._run(CancelOrder(ACCOUNT, cl_ord_id, orig_cl_ord_id))

    def client_replace(
        self, cl_ord_id: str, orig_cl_ord_id: str, qty: Decimal | None, px: Decimal | None
    ) -> None:
        self._run(ReplaceOrder(ACCOUNT, cl_ord_id, orig_cl_ord_id, qty, px))

    def client_status(self, cl_ord_id: str) -> None:
        self._run(OrderStatusRequest(ACCOUNT, cl_ord_id))

    def staff_new(self, cl_ord_id: str, qty: Decimal, px: Decimal | None, tif: TimeInForce) -> None:
        self._run(self._new(cl_ord_id or "PHONE", qty, px, tif, Origin.STAFF))

    def staff_cancel(self, cl_ord_id: str) -> None:
        self._run(CancelOrder(ACCOUNT, "", cl_ord_id or self._only(), Origin.STAFF, "verbal change"))

    def staff_replace(self, cl_ord_id: str, qty: Decimal | None, px: Decimal | None) -> None:
        self._run(ReplaceOrder(ACCOUNT, "", cl_ord_id or self._only(), qty, px, Origin.STAFF))

    def staff_halt(self, cl_ord_id: str) -> None:
        del cl_ord_id
        self._run(HaltInstrument(SYMBOL, halted=True, reason="halt"))

    def staff_resume(self, cl_ord_id: str, qty: Decimal | None) -> None:
        del cl_ord_id, qty
        self._run(HaltInstrument(SYMBOL, halted=False, reason="resume"))

    def _only(self) -> str:
        order = next(reversed(self.state.orders.values()))
        return order.cl_ord_id

    # --- venue ---

    def _report(
        self,
        kind: ReportKind,
        cl_ord_id: str,
        *,
        orig: str = "",
        qty: Decimal = ZERO,
        px: Decimal | None = None,
        exec_id: str = "",
        ref_exec_id: str = "",
        reason: str = "",
    ) -> None:
        self._seq += 1
        report = VenueReport(
            kind,
            VENUE,
            self._venue_id(cl_ord_id),
            self._seq,
            session="script",
            trade_date=DAYS[self._day],
            orig_cl_ord_id=self._venue_id(orig) if orig else "",
            venue_order_id="V1",
            qty=qty,
            px=px,
            exec_id=exec_id,
            ref_exec_id=ref_exec_id,
            reason=reason,
        )
        self._run(RecordVenueReport(report))

    def _venue_id(self, cl_ord_id: str) -> str:
        return self._venue_ids.get(cl_ord_id) or self._child().cl_ord_id

    def _child(self) -> Child:
        return next(reversed(self.state.children.values()))

    def venue_ack(self, cl_ord_id: str) -> None:
        self._report(ReportKind.ACK, cl_ord_id)

    def venue_reject(self, cl_ord_id: str, reason: str) -> None:
        self._report(ReportKind.REJECT, cl_ord_id, reason=reason)

    def venue_fill(self, cl_ord_id: str, qty: Decimal, px: Decimal, exec_id: str) -> None:
        self._report(ReportKind.FILL, cl_ord_id, qty=qty, px=px, exec_id=exec_id)

    def venue_canceled(self, cl_ord_id: str, orig_cl_ord_id: str) -> None:
        self._report(ReportKind.CANCELED, cl_ord_id, orig=orig_cl_ord_id)

    def venue_replaced(self, cl_ord_id: str, qty: Decimal | None, px: Decimal | None) -> None:
        self._report(ReportKind.REPLACED, cl_ord_id, qty=qty if qty is not None else ZERO, px=px)

    def venue_cancel_reject(self, cl_ord_id: str, orig_cl_ord_id: str, reason: int | None) -> None:
        text = str(reason) if reason is not None else ""
        self._report(ReportKind.CANCEL_REJECT, cl_ord_id, orig=orig_cl_ord_id, reason=text)

    def venue_correct(self, cl_ord_id: str, ref_id: str, qty: Decimal, px: Decimal, exec_id: str) -> None:
        self._report(ReportKind.CORRECT, cl_ord_id, qty=qty, px=px, exec_id=exec_id, ref_exec_id=ref_id)

    def venue_bust(self, cl_ord_id: str, ref_id: str, exec_id: str) -> None:
        self._report(ReportKind.BUST, cl_ord_id, exec_id=exec_id, ref_exec_id=ref_id)

    def venue_restated(
        self, cl_ord_id: str, qty: Decimal, px: Decimal | None, corporate_action: bool
    ) -> None:
        reason = "corporate_action" if corporate_action else "restated"
        self._report(ReportKind.RESTATED, cl_ord_id, qty=qty, px=px, reason=reason)

    def venue_stopped(self, cl_ord_id: str, qty: Decimal, px: Decimal) -> None:
        self._report(ReportKind.STOPPED, cl_ord_id, qty=qty, px=px)

    def venue_done_for_day(self, cl_ord_id: str) -> None:
        self._report(ReportKind.DONE_FOR_DAY, cl_ord_id)

    def venue_expired(self, cl_ord_id: str) -> None:
        self._report(ReportKind.EXPIRED, cl_ord_id)

    # --- clock ---

    def clock_close(self) -> None:
        self._run(TimerFired(TimerKind.DAY_CLOSE, DAYS[self._day]))

    def clock_next_day(self) -> None:
        self._day += 1
        self._run(TimerFired(TimerKind.DAY_OPEN, DAYS[self._day]))
