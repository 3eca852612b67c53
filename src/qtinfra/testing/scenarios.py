"""Order-state scripts: reading them, the rig they are played against, the comparison of client reports."""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Protocol

import msgspec

from qtinfra.core.exceptions import QtInfraError
from qtinfra.core.models import TimeInForce
from qtinfra.core.reports import ExecType, ExecutionReport, OrderCancelReject
from qtinfra.engine.invariants import InvariantBrokenError
from qtinfra.engine.kernel import KernelStoppedError

ClientReport = ExecutionReport | OrderCancelReject


class ConformanceFileError(ValueError):
    """A conformance file does not have the form that its README describes."""


# --- the rig: what a script is played against --------------------------------------------------------------


class Rig(Protocol):
    """A fresh engine with one account, one instrument and one scripted venue.

    Every method returns when the engine has finished; the reports that it caused for the client stand in
    `reports`, the oldest first. All ids are those of the script, also in the venue's methods: the rig maps
    them to the ids that the engine used towards the venue. Quantities are in units, prices per unit.
    """

    @property
    def reports(self) -> deque[ClientReport]: ...

    def client_new(
        self, cl_ord_id: str, qty: Decimal, px: Decimal | None, tif: TimeInForce, poss_resend: bool
    ) -> None:
        """A buy; a limit order when it has a price."""
        ...

    def client_cancel(self, cl_ord_id: str, orig_cl_ord_id: str) -> None: ...

    def client_replace(
        self, cl_ord_id: str, orig_cl_ord_id: str, qty: Decimal | None, px: Decimal | None
    ) -> None: ...

    def client_status(self, cl_ord_id: str) -> None: ...

    def staff_new(self, cl_ord_id: str, qty: Decimal, px: Decimal | None, tif: TimeInForce) -> None: ...

    def staff_cancel(self, cl_ord_id: str) -> None:
        """`cl_ord_id` may be empty: the script's only order is meant (also in the next three)."""
        ...

    def staff_replace(self, cl_ord_id: str, qty: Decimal | None, px: Decimal | None) -> None: ...

    def staff_halt(self, cl_ord_id: str) -> None: ...

    def staff_resume(self, cl_ord_id: str, qty: Decimal | None) -> None: ...

    def venue_ack(self, cl_ord_id: str) -> None: ...

    def venue_reject(self, cl_ord_id: str, reason: str) -> None: ...

    def venue_fill(self, cl_ord_id: str, qty: Decimal, px: Decimal, exec_id: str) -> None: ...

    def venue_canceled(self, cl_ord_id: str, orig_cl_ord_id: str) -> None:
        """`cl_ord_id` names the cancel that is answered, or the order when nobody asked."""
        ...

    def venue_replaced(self, cl_ord_id: str, qty: Decimal | None, px: Decimal | None) -> None: ...

    def venue_cancel_reject(self, cl_ord_id: str, orig_cl_ord_id: str, reason: int | None) -> None:
        """The cancel or the replace `cl_ord_id` is refused; `reason` is CxlRejReason (FIX 102)."""
        ...

    def venue_correct(self, cl_ord_id: str, ref_id: str, qty: Decimal, px: Decimal, exec_id: str) -> None: ...

    def venue_bust(self, cl_ord_id: str, ref_id: str, exec_id: str) -> None: ...

    def venue_restated(
        self, cl_ord_id: str, qty: Decimal, px: Decimal | None, corporate_action: bool
    ) -> None:
        """`qty` is the new order quantity; a corporate action scales what has traded by the same ratio."""
        ...

    def venue_stopped(self, cl_ord_id: str, qty: Decimal, px: Decimal) -> None: ...

    def venue_done_for_day(self, cl_ord_id: str) -> None: ...

    def venue_expired(self, cl_ord_id: str) -> None: ...

    def clock_close(self) -> None: ...

    def clock_next_day(self) -> None: ...


#: Makes the rig of one script from the policies that it sets, e.g. {"chained_replace": "queue"}.
RigFactory = Callable[[dict[str, str]], Rig]


# --- scripts ---------------------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True):
    """One line of a script; the fields are the file's columns, in its words."""

    path: str
    n: int
    actor: str
    action: str
    cl_ord_id: str
    orig_cl_ord_id: str
    qty: str
    px: str
    tif: str
    exec_id: str
    ref_id: str
    exec_type: str
    ord_status: str
    order_qty: str
    cum_qty: str
    leaves_qty: str
    last_qty: str
    avg_px: str
    reason: str
    policy: str
    grade: str
    note: str

    @property
    def optional(self) -> bool:
        return self.note.lower().startswith("optional")


class Scenario(msgspec.Struct, frozen=True):
    """The rows of one path, in order of `n`, and the policies that they set."""

    path: str
    rows: tuple[Row, ...]
    policy: dict[str, str]


class Outcome(msgspec.Struct, frozen=True):
    """How one check ended. `row` is the row that failed; 0 when none did."""

    path: str
    passed: bool
    failure: str = ""
    row: int = 0


class ScriptFailure(Exception):
    """A row did not go as the script says: field, expected and got."""


def load_scenarios(path: Path) -> list[Scenario]:
    """Read the scripts in the order of the file.

    Raises:
        ConformanceFileError: a column or a policy's value is missing, a row number is none or comes twice.
    """
    paths: dict[str, list[Row]] = {}
    for row in map(_row, read_records(path, Row.__struct_fields__)):
        paths.setdefault(row.path, []).append(row)
    return [_scenario(name, rows) for name, rows in paths.items()]


def read_records(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read a CSV file with a heading; only the named columns, blanks trimmed.

    Raises:
        ConformanceFileError: a column is missing.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ConformanceFileError(f"{path.name}: no column {', '.join(missing)}")
        return [{name: (record[name] or "").strip() for name in columns} for record in reader]


def _row(record: dict[str, str]) -> Row:
    try:
        return Row(**{**record, "n": int(record["n"])})  # type: ignore[arg-type]
    except ValueError as error:
        raise ConformanceFileError(f"path {record['path']}: n is {record['n']!r}") from error


def _scenario(path: str, rows: list[Row]) -> Scenario:
    rows = sorted(rows, key=lambda row: row.n)
    for before, after in itertools.pairwise(rows):
        if before.n == after.n:
            raise ConformanceFileError(f"path {path}: two rows {after.n}")
    policy: dict[str, str] = {}
    for setting in " ".join(row.policy.replace(";", " ").replace(",", " ") for row in rows).split():
        name, found, value = setting.partition("=")
        if not found:
            raise ConformanceFileError(f"path {path}: policy {setting!r} has no value")
        policy[name] = value
    return Scenario(path, tuple(rows), policy)


# --- playing a script ------------------------------------------------------------------------------------


class ExecIds:
    """Execution ids of one path: the script's own, and new ones where it leaves them blank."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._taken = [row.exec_id for row in rows]
        self._last = 0

    def of(self, row: Row) -> str:
        if row.exec_id:
            return row.exec_id
        while True:
            self._last += 1
            fresh = f"exec-{self._last}"
            if fresh not in self._taken:
                return fresh


def _number(row: Row, field: str) -> Decimal:
    value = _maybe(row, field)
    if value is None:
        raise ScriptFailure(f"{field}: the script gives none")
    return value


def _maybe(row: Row, field: str) -> Decimal | None:
    text: str = getattr(row, field)
    try:
        return Decimal(text) if text else None
    except InvalidOperation as error:
        raise ScriptFailure(f"{field}: the script's {text!r} is not a number") from error


def _tif(row: Row) -> TimeInForce:
    try:
        return TimeInForce(row.tif or "DAY")
    except ValueError as error:
        raise ScriptFailure(f"tif: the script's {row.tif!r} is not known") from error


def _reason(row: Row) -> int | None:
    number = _maybe(row, "reason")
    return None if number is None else int(number)


Act = Callable[[Rig, Row, str], None]

_CLIENT: dict[str, Act] = {
    "new": lambda rig, row, _: rig.client_new(
        row.cl_ord_id, _number(row, "qty"), _maybe(row, "px"), _tif(row), "PossResend=Y" in row.reason
    ),
    "cancel": lambda rig, row, _: rig.client_cancel(row.cl_ord_id, row.orig_cl_ord_id),
    "replace": lambda rig, row, _: rig.client_replace(
        row.cl_ord_id, row.orig_cl_ord_id, _maybe(row, "qty"), _maybe(row, "px")
    ),
    "status": lambda rig, row, _: rig.client_status(row.cl_ord_id),
}
_STAFF: dict[str, Act] = {
    "new": lambda rig, row, _: rig.staff_new(
        row.cl_ord_id, _number(row, "qty"), _maybe(row, "px"), _tif(row)
    ),
    "cancel": lambda rig, row, _: rig.staff_cancel(row.cl_ord_id),
    "replace": lambda rig, row, _: rig.staff_replace(row.cl_ord_id, _maybe(row, "qty"), _maybe(row, "px")),
    "halt": lambda rig, row, _: rig.staff_halt(row.cl_ord_id),
    "resume": lambda rig, row, _: rig.staff_resume(row.cl_ord_id, _maybe(row, "qty")),
}
_VENUE: dict[str, Act] = {
    "ack": lambda rig, row, _: rig.venue_ack(row.cl_ord_id),
    "reject": lambda rig, row, _: rig.venue_reject(row.cl_ord_id, row.reason),
    "fill": lambda rig, row, exec_id: rig.venue_fill(
        row.cl_ord_id, _number(row, "qty"), _number(row, "px"), exec_id
    ),
    "canceled": lambda rig, row, _: rig.venue_canceled(row.cl_ord_id, row.orig_cl_ord_id),
    "replaced": lambda rig, row, _: rig.venue_replaced(row.cl_ord_id, _maybe(row, "qty"), _maybe(row, "px")),
    "cancel_reject": lambda rig, row, _: rig.venue_cancel_reject(
        row.cl_ord_id, row.orig_cl_ord_id, _reason(row)
    ),
    "correct": lambda rig, row, exec_id: rig.venue_correct(
        row.cl_ord_id, row.ref_id, _number(row, "qty"), _number(row, "px"), exec_id
    ),
    "bust": lambda rig, row, exec_id: rig.venue_bust(row.cl_ord_id, row.ref_id, exec_id),
    "restated": lambda rig, row, _: rig.venue_restated(
        row.cl_ord_id, _number(row, "qty"), _maybe(row, "px"), "corporate action" in row.note.lower()
    ),
    "done_for_day": lambda rig, row, _: rig.venue_done_for_day(row.cl_ord_id),
    "expired": lambda rig, row, _: rig.venue_expired(row.cl_ord_id),
    "stopped": lambda rig, row, _: rig.venue_stopped(row.cl_ord_id, _number(row, "qty"), _number(row, "px")),
}
_CLOCK: dict[str, Act] = {
    "close": lambda rig, _row, _: rig.clock_close(),
    "next_day": lambda rig, _row, _: rig.clock_next_day(),
}
_ACTIONS = {"client": _CLIENT, "staff": _STAFF, "venue": _VENUE, "clock": _CLOCK}
_NEEDS_EXEC_ID = ("fill", "correct", "bust")

#: What a broken engine may raise; the runner then says which row, and goes on with the next path.
ENGINE_FAULTS = (
    QtInfraError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    InvariantBrokenError,
    KernelStoppedError,
)


def play(scenario: Scenario, rig: Rig) -> Outcome:
    """Play a script to its first failure.

    Returns:
        The outcome; a failure names path, row, field, what was expected and what came.
    """
    exec_ids = ExecIds(scenario.rows)
    number = 0
    try:
        for row in scenario.rows:
            number = row.n
            if row.actor == "expect":
                _expect(row, rig.reports)
            else:
                _act(row, rig, exec_ids)
        _expect_no_more(rig.reports)
    except ScriptFailure as failure:
        return Outcome(scenario.path, False, f"path {scenario.path}, row {number}, {failure}", number)
    except ENGINE_FAULTS as fault:
        text = f"path {scenario.path}, row {number}, the engine failed: {type(fault).__name__}: {fault}"
        return Outcome(scenario.path, False, text, number)
    return Outcome(scenario.path, True)


def _act(row: Row, rig: Rig, exec_ids: ExecIds) -> None:
    act = _ACTIONS.get(row.actor, {}).get(row.action)
    if act is None:
        raise ScriptFailure(f"action: the runner does not know {row.actor!r} {row.action!r}")
    act(rig, row, exec_ids.of(row) if row.action in _NEEDS_EXEC_ID else "")


# --- comparing reports -----------------------------------------------------------------------------------

# Column of the script -> attribute of the report, in the order in which a difference is told.
_COMPARED = {
    "exec_type": "exec_type",
    "ord_status": "ord_status",
    "cl_ord_id": "cl_ord_id",
    "orig_cl_ord_id": "orig_cl_ord_id",
    "exec_id": "exec_id",
    "ref_id": "ref_exec_id",
    "order_qty": "order_qty",
    "cum_qty": "cum_qty",
    "leaves_qty": "leaves_qty",
    "last_qty": "last_qty",
    "avg_px": "avg_px",
    "reason": "reason",
}
_NUMBERS = ("order_qty", "cum_qty", "leaves_qty", "last_qty", "avg_px", "reason")
_MESSAGES: dict[str, type[ClientReport]] = {"report": ExecutionReport, "cancel_reject": OrderCancelReject}
#: Reports that may come without being listed: pending new, pending cancel, pending replace.
_ALLOWED = (ExecType.PENDING_NEW, ExecType.PENDING_CANCEL, ExecType.PENDING_REPLACE)


def _expect(row: Row, reports: deque[ClientReport]) -> None:
    """Match a row with the next report that must be listed, dropping those before it that need not be."""
    if row.action not in _MESSAGES:
        raise ScriptFailure(f"action: the runner does not know 'expect' {row.action!r}")
    told = ""
    for index, report in enumerate(reports):
        difference = _difference(row, report)
        if not difference:
            for _ in range(index + 1):
                reports.popleft()
            return
        if not told or _asked_for(row, report):
            told = difference
        if not _may_be_unlisted(report):
            told = difference
            break
    if not row.optional:
        raise ScriptFailure(told or f"report: expected {_wanted(row)}, got none")


def _expect_no_more(reports: deque[ClientReport]) -> None:
    for report in reports:
        if not _may_be_unlisted(report):
            raise ScriptFailure(f"end: expected no more reports, got {_summary(report)}")


def _may_be_unlisted(report: ClientReport) -> bool:
    return isinstance(report, ExecutionReport) and report.exec_type in _ALLOWED


def _asked_for(row: Row, report: ClientReport) -> bool:
    return isinstance(report, ExecutionReport) and row.exec_type == report.exec_type


def _difference(row: Row, report: ClientReport) -> str:
    """The first field that differs, with both values; empty when the report is what the row says."""
    if not isinstance(report, _MESSAGES[row.action]):
        return f"report: expected {_wanted(row)}, got {_summary(report)}"
    for column, attribute in _COMPARED.items():
        text: str = getattr(row, column)
        if not text:
            continue
        got: object = getattr(report, attribute, None)
        if got is None:
            return f"{column}: expected {text}, got none in {_summary(report)}"
        expected = _maybe(row, column) if column in _NUMBERS else text
        if expected != got:
            return f"{column}: expected {text}, got {got} in {_summary(report)}"
    return ""


def _wanted(row: Row) -> str:
    return f"{row.action} {row.exec_type or '-'}/{row.ord_status or '-'} of {row.cl_ord_id or '-'}"


def _summary(report: ClientReport) -> str:
    if isinstance(report, OrderCancelReject):
        return f"cancel_reject {report.ord_status} of {report.cl_ord_id} (reason {report.reason})"
    quantities = f"{report.order_qty}/{report.cum_qty}/{report.leaves_qty}"
    return f"report {report.exec_type.value}/{report.ord_status} of {report.cl_ord_id} ({quantities})"
