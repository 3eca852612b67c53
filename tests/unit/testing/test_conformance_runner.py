"""The conformance runner, played against a rig that answers from a list: what is wrong must turn it red."""

import io
import json
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from qtinfra.core.models import OrderStatus, TimeInForce
from qtinfra.core.reports import ExecType, ExecutionReport, OrderCancelReject
from qtinfra.testing.algo_cases import AlgoFunction
from qtinfra.testing.conformance import (
    Deviation,
    Result,
    Row,
    Scenario,
    load_scenarios,
    main,
    play,
    report_lines,
    run,
)
from qtinfra.testing.precedence import load_precedence, precedence_failures
from qtinfra.testing.scenarios import ClientReport, ConformanceFileError, Rig

pytestmark = pytest.mark.unit

COLUMNS = Row.__struct_fields__
Line = dict[str, str]
Answers = Mapping[int, list[ClientReport]]


class ListRig:
    """Takes every request down and answers the n-th one with the n-th list of reports."""

    def __init__(self, answers: Answers, fault_at: int = 0) -> None:
        self.reports: deque[ClientReport] = deque()
        self.calls: list[tuple[object, ...]] = []
        self._answers = answers
        self._fault_at = fault_at

    def _take(self, *call: object) -> None:
        self.calls.append(call)
        if len(self.calls) == self._fault_at:
            raise KeyError("lost order")
        self.reports.extend(self._answers.get(len(self.calls), ()))

    def client_new(
        self, cl_ord_id: str, qty: Decimal, px: Decimal | None, tif: TimeInForce, poss_resend: bool
    ) -> None:
        self._take("client new", cl_ord_id, qty, px, tif, poss_resend)

    def client_cancel(self, cl_ord_id: str, orig_cl_ord_id: str) -> None:
        self._take("client cancel", cl_ord_id, orig_cl_ord_id)

    def client_replace(
        self, cl_ord_id: str, orig_cl_ord_id: str, qty: Decimal | None, px: Decimal | None
    ) -> None:
        self._take("client replace", cl_ord_id, orig_cl_ord_id, qty, px)

    def client_status(self, cl_ord_id: str) -> None:
        self._take("client status", cl_ord_id)

    def staff_new(self, cl_ord_id: str, qty: Decimal, px: Decimal | None, tif: TimeInForce) -> None:
        self._take("staff new", cl_ord_id, qty, px, tif)

    def staff_cancel(self, cl_ord_id: str) -> None:
        self._take("staff cancel", cl_ord_id)

    def staff_replace(self, cl_ord_id: str, qty: Decimal | None, px: Decimal | None) -> None:
        self._take("staff replace", cl_ord_id, qty, px)

    def staff_halt(self, cl_ord_id: str) -> None:
        self._take("staff halt", cl_ord_id)

    def staff_resume(self, cl_ord_id: str, qty: Decimal | None) -> None:
        self._take("staff resume", cl_ord_id, qty)

    def venue_ack(self, cl_ord_id: str) -> None:
        self._take("venue ack", cl_ord_id)

    def venue_reject(self, cl_ord_id: str, reason: str) -> None:
        self._take("venue reject", cl_ord_id, reason)

    def venue_fill(self, cl_ord_id: str, qty: Decimal, px: Decimal, exec_id: str) -> None:
        self._take("venue fill", cl_ord_id, qty, px, exec_id)

    def venue_canceled(self, cl_ord_id: str, orig_cl_ord_id: str) -> None:
        self._take("venue canceled", cl_ord_id, orig_cl_ord_id)

    def venue_replaced(self, cl_ord_id: str, qty: Decimal | None, px: Decimal | None) -> None:
        self._take("venue replaced", cl_ord_id, qty, px)

    def venue_cancel_reject(self, cl_ord_id: str, orig_cl_ord_id: str, reason: int | None) -> None:
        self._take("venue cancel_reject", cl_ord_id, orig_cl_ord_id, reason)

    def venue_correct(self, cl_ord_id: str, ref_id: str, qty: Decimal, px: Decimal, exec_id: str) -> None:
        self._take("venue correct", cl_ord_id, ref_id, qty, px, exec_id)

    def venue_bust(self, cl_ord_id: str, ref_id: str, exec_id: str) -> None:
        self._take("venue bust", cl_ord_id, ref_id, exec_id)

    def venue_restated(
        self, cl_ord_id: str, qty: Decimal, px: Decimal | None, corporate_action: bool
    ) -> None:
        self._take("venue restated", cl_ord_id, qty, px, corporate_action)

    def venue_stopped(self, cl_ord_id: str, qty: Decimal, px: Decimal) -> None:
        self._take("venue stopped", cl_ord_id, qty, px)

    def venue_done_for_day(self, cl_ord_id: str) -> None:
        self._take("venue done_for_day", cl_ord_id)

    def venue_expired(self, cl_ord_id: str) -> None:
        self._take("venue expired", cl_ord_id)

    def clock_close(self) -> None:
        self._take("clock close")

    def clock_next_day(self) -> None:
        self._take("clock next_day")


def er(
    exec_type: str, ord_status: str, cum: str = "0", cl_ord_id: str = "X", **fields: object
) -> ExecutionReport:
    report = ExecutionReport(
        account="ACC",
        order_id="O",
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id="",
        exec_type=ExecType(exec_type),
        ord_status=ord_status,
        status=OrderStatus.ROUTED,
        order_qty=Decimal(10000),
        cum_qty=Decimal(cum),
        leaves_qty=10000 - Decimal(cum),
        avg_px=Decimal(50) if Decimal(cum) else Decimal(0),
    )
    return msgspec.structs.replace(report, **fields)


def cxl_reject(ord_status: str, reason: int) -> OrderCancelReject:
    return OrderCancelReject("ACC", "O", "Y", "X", ord_status, 1, reason)


def line(actor: str, action: str, cl_ord_id: str = "X", **fields: str) -> Line:
    return {"actor": actor, "action": action, "cl_ord_id": cl_ord_id, "grade": "derived", **fields}


def expect(exec_type: str = "", ord_status: str = "", **fields: str) -> Line:
    return line("expect", "report", exec_type=exec_type, ord_status=ord_status, **fields)


def rows(*lines: Line, path: str = "P/main") -> list[Line]:
    return [{"path": path, "n": str(n), **fields} for n, fields in enumerate(lines, 1)]


def write(folder: Path, *lines: Line) -> Path:
    text = [",".join(COLUMNS)]
    text += [",".join(f'"{fields.get(name, "")}"' for name in COLUMNS) for fields in lines]
    (folder / "order_state_scenarios.csv").write_text("\n".join(text) + "\n", "utf-8")
    return folder


def scenario(*lines: Line) -> Scenario:
    filled = tuple(
        Row(**{**dict.fromkeys(COLUMNS, ""), **fields, "n": int(fields["n"])})  # type: ignore[arg-type]
        for fields in rows(*lines)
    )
    return Scenario("P/main", filled, {})


LIFE = (
    line("client", "new", qty="10000", px="50"),
    line("venue", "ack"),
    expect("0", "0", order_qty="10000", cum_qty="0", leaves_qty="10000"),
    line("venue", "fill", qty="2000", px="50"),
    expect("F", "1", cum_qty="2000", leaves_qty="8000", last_qty="2000", avg_px="50"),
)
NEW = er("0", "0")
FILL = er("F", "1", "2000", last_qty=Decimal(2000))


def failure(*lines: Line, answers: Answers) -> str:
    outcome = play(scenario(*lines), ListRig(answers))
    assert outcome.passed is (outcome.failure == "")
    return outcome.failure


# --- comparing -------------------------------------------------------------------------------------------


def test_a_script_passes_when_every_report_is_as_listed() -> None:
    assert failure(*LIFE, answers={2: [NEW], 3: [FILL]}) == ""


@pytest.mark.parametrize(
    ("got", "told"),
    [
        (
            er("F", "2", "2000", last_qty=Decimal(2000)),
            "row 5, ord_status: expected 1, got 2 in report F/2 of X",
        ),
        (er("5", "1", "2000", last_qty=Decimal(2000)), "row 5, exec_type: expected F, got 5"),
        (er("F", "1", "2000", "Z", last_qty=Decimal(2000)), "row 5, cl_ord_id: expected X, got Z"),
        (er("F", "1", "1999", last_qty=Decimal(2000)), "row 5, cum_qty: expected 2000, got 1999"),
        (er("F", "1", "2000", last_qty=Decimal(1)), "row 5, last_qty: expected 2000, got 1 "),
        (
            er("F", "1", "2000", last_qty=Decimal(2000), avg_px=Decimal("50.00000001")),
            "row 5, avg_px: expected 50",
        ),
        (cxl_reject("1", 0), "row 5, report: expected report F/1 of X, got cancel_reject 1 of Y"),
    ],
)
def test_a_report_that_differs_in_one_field_turns_the_path_red_and_the_field_is_named(
    got: ClientReport, told: str
) -> None:
    text = failure(*LIFE, answers={2: [NEW], 3: [got]})
    assert text.startswith(f"path P/main, {told}")


def test_a_missing_report_turns_the_path_red() -> None:
    assert (
        failure(*LIFE, answers={2: [NEW]}) == "path P/main, row 5, report: expected report F/1 of X, got none"
    )


def test_an_extra_report_turns_the_path_red_before_a_listed_one_and_at_the_end() -> None:
    assert "row 5, exec_type: expected F, got D" in failure(
        *LIFE, answers={2: [NEW, er("D", "0")], 3: [FILL]}
    )
    text = failure(*LIFE, answers={2: [NEW], 3: [FILL, FILL]})
    assert text == "path P/main, row 5, end: expected no more reports, got report F/1 of X (10000/2000/8000)"


@pytest.mark.parametrize("exec_type", ["A", "6", "E"])
def test_pending_reports_may_come_unlisted_anywhere(exec_type: str) -> None:
    extra = er(exec_type, exec_type)
    assert failure(*LIFE, answers={1: [extra], 2: [NEW, extra, extra], 3: [FILL, extra]}) == ""


def test_a_pending_report_that_is_listed_must_come_and_be_right() -> None:
    script = (line("client", "cancel", "Y"), expect("6", "6", cum_qty="2000", cl_ord_id="Y"))
    assert failure(*script, answers={1: [er("6", "6", "2000", "Y")]}) == ""
    assert "row 2, cum_qty: expected 2000, got 1000" in failure(
        *script, answers={1: [er("A", "A"), er("6", "6", "1000", "Y")]}
    )
    assert "expected report 6/6 of Y, got none" in failure(*script, answers={})


def test_an_optional_row_may_be_missing_and_is_matched_when_it_is_there() -> None:
    script = (
        line("clock", "close"),
        expect("3", "3", note="optional; some venues say so"),
        line("venue", "restated", qty="10000"),
        expect("D", "1"),
    )
    assert failure(*script, answers={1: [er("3", "3")], 2: [er("D", "1")]}) == ""
    assert failure(*script, answers={2: [er("D", "1")]}) == ""
    assert "row 4, exec_type: expected D, got 3" in failure(
        *script, answers={1: [er("3", "9")], 2: [er("D", "1")]}
    )


def test_a_blank_field_is_not_compared_and_numbers_are_compared_by_value() -> None:
    script = (line("client", "status"), expect("I", "", order_qty="10000.00"))
    assert failure(*script, answers={1: [er("I", "8", "77")]}) == ""


def test_references_to_executions_and_to_the_order_before_are_compared() -> None:
    script = (line("venue", "bust", ref_id="B"), expect("H", "4", ref_id="B", orig_cl_ord_id="W"))
    good = er("H", "4", ref_exec_id="B", orig_cl_ord_id="W")
    assert failure(*script, answers={1: [good]}) == ""
    assert "ref_id: expected B, got C" in failure(
        *script, answers={1: [msgspec.structs.replace(good, ref_exec_id="C")]}
    )
    assert "orig_cl_ord_id: expected W, got " in failure(
        *script, answers={1: [msgspec.structs.replace(good, orig_cl_ord_id="")]}
    )


def test_a_cancel_reject_is_compared_by_status_reason_and_ids() -> None:
    script = (
        line("client", "cancel", "Y", orig_cl_ord_id="X"),
        line("expect", "cancel_reject", "Y", orig_cl_ord_id="X", ord_status="2", reason="0"),
    )
    assert failure(*script, answers={1: [cxl_reject("2", 0)]}) == ""
    assert "row 2, reason: expected 0, got 3" in failure(*script, answers={1: [cxl_reject("2", 3)]})
    assert "row 2, ord_status: expected 2, got 1" in failure(*script, answers={1: [cxl_reject("1", 0)]})
    assert "expected cancel_reject -/2 of Y, got report 4/4" in failure(*script, answers={1: [er("4", "4")]})


def test_a_reason_that_the_report_lacks_is_told() -> None:
    script = (line("client", "new", qty="1"), expect("8", "8", reason="6"))
    assert "reason: expected 6, got none in report 8/8" in failure(*script, answers={1: [er("8", "8")]})


# --- acting ----------------------------------------------------------------------------------------------


def test_rows_reach_the_rig_with_the_clients_ids_and_the_defaults_of_the_format() -> None:
    rig = ListRig({})
    script = scenario(
        line("client", "new", qty="100", px="50.5"),
        line("client", "new", qty="100", tif="GTC", reason="PossResend=Y"),
        line("client", "replace", "Y", orig_cl_ord_id="X", qty="90"),
        line("client", "cancel", "Z", orig_cl_ord_id="Y"),
        line("client", "status", "Z"),
        line("staff", "new", "S", qty="5", px="1", tif="IOC"),
        line("staff", "cancel", ""),
        line("staff", "replace", "", qty="11000"),
        line("staff", "halt", ""),
        line("staff", "resume", "X", qty="10000"),
        line("venue", "reject", "X", reason="no"),
        line("venue", "canceled", "Z", orig_cl_ord_id="Y"),
        line("venue", "replaced", "Y"),
        line("venue", "cancel_reject", "Y", orig_cl_ord_id="X", reason="0"),
        line("venue", "restated", "X", qty="20000", note="reason=corporate action (0)"),
        line("venue", "restated", "X", qty="9000", note="partial decline"),
        line("venue", "stopped", "X", qty="1000", px="50"),
        line("clock", "close"),
        line("clock", "next_day"),
    )
    assert play(script, rig).failure == ""
    day, gtc, ioc = TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC
    assert rig.calls == [
        ("client new", "X", Decimal(100), Decimal("50.5"), day, False),
        ("client new", "X", Decimal(100), None, gtc, True),
        ("client replace", "Y", "X", Decimal(90), None),
        ("client cancel", "Z", "Y"),
        ("client status", "Z"),
        ("staff new", "S", Decimal(5), Decimal(1), ioc),
        ("staff cancel", ""),
        ("staff replace", "", Decimal(11000), None),
        ("staff halt", ""),
        ("staff resume", "X", Decimal(10000)),
        ("venue reject", "X", "no"),
        ("venue canceled", "Z", "Y"),
        ("venue replaced", "Y", None, None),
        ("venue cancel_reject", "Y", "X", 0),
        ("venue restated", "X", Decimal(20000), None, True),
        ("venue restated", "X", Decimal(9000), None, False),
        ("venue stopped", "X", Decimal(1000), Decimal(50)),
        ("clock close",),
        ("clock next_day",),
    ]


def test_blank_execution_ids_are_filled_in_unique_in_their_path_and_given_ones_are_kept() -> None:
    rig = ListRig({})
    script = scenario(
        line("venue", "fill", qty="1", px="50"),
        line("venue", "fill", qty="1", px="50", exec_id="exec-2"),
        line("venue", "fill", qty="1", px="50"),
        line("venue", "correct", qty="1", px="51", ref_id="exec-2"),
        line("venue", "bust", ref_id="exec-2"),
    )
    assert play(script, rig).passed
    assert [call[-1] for call in rig.calls] == ["exec-1", "exec-2", "exec-3", "exec-4", "exec-5"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (line("venue", "explode"), "action: the runner does not know 'venue' 'explode'"),
        (line("broker", "new"), "action: the runner does not know 'broker' 'new'"),
        (line("expect", "silence"), "action: the runner does not know 'expect' 'silence'"),
        (line("venue", "fill", qty="1"), "px: the script gives none"),
        (line("client", "new", qty="many"), "qty: the script's 'many' is not a number"),
        (line("client", "new", qty="1", tif="SOON"), "tif: the script's 'SOON' is not known"),
    ],
)
def test_a_row_that_cannot_be_played_turns_its_path_red(fields: Line, told: str) -> None:
    assert failure(fields, answers={}) == f"path P/main, row 1, {told}"


def test_an_engine_that_fails_turns_the_path_red_and_names_the_row() -> None:
    outcome = play(scenario(*LIFE), ListRig({2: [NEW], 3: [FILL]}, fault_at=3))
    assert outcome.failure == "path P/main, row 4, the engine failed: KeyError: 'lost order'"


# --- reading ---------------------------------------------------------------------------------------------


def test_scripts_are_read_by_path_in_order_of_n_with_the_policies_of_their_rows(tmp_path: Path) -> None:
    first, second, third = rows(*LIFE[:3], path="A/main")
    other = rows(line("client", "status", policy="chained_replace=queue; halt=suspend"), path="B/main")
    write(tmp_path, third, *other, first, second)
    loaded = load_scenarios(tmp_path / "order_state_scenarios.csv")
    assert [(one.path, [row.n for row in one.rows], one.policy) for one in loaded] == [
        ("A/main", [1, 2, 3], {}),
        ("B/main", [1], {"chained_replace": "queue", "halt": "suspend"}),
    ]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([{**rows(LIFE[0])[0], "n": "one"}], "n is 'one'"),
        ([*rows(LIFE[0]), *rows(LIFE[1])], "two rows 1"),
        (rows({**LIFE[0], "policy": "queue"}), "policy 'queue' has no value"),
    ],
)
def test_a_malformed_script_is_refused_by_name(tmp_path: Path, lines: list[Line], told: str) -> None:
    write(tmp_path, *lines)
    with pytest.raises(ConformanceFileError, match=told):
        load_scenarios(tmp_path / "order_state_scenarios.csv")


def test_a_missing_column_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "order_state_scenarios.csv").write_text("path,n,actor\nP,1,client\n")
    with pytest.raises(ConformanceFileError, match="no column action, cl_ord_id"):
        load_scenarios(tmp_path / "order_state_scenarios.csv")


# --- running ---------------------------------------------------------------------------------------------


def rigs(answers: Answers, seen: list[dict[str, str]] | None = None) -> Callable[[dict[str, str]], Rig]:
    def make(policy: dict[str, str]) -> Rig:
        if seen is not None:
            seen.append(policy)
        return ListRig(answers)

    return make


GOOD: Answers = {2: [NEW], 3: [FILL]}
BAD: Answers = {2: [NEW], 3: [er("F", "2", "2000", last_qty=Decimal(2000))]}


def execute(folder: Path, answers: Answers, *options: str) -> tuple[int, str]:
    out = io.StringIO()
    status = main([str(folder), *options], rigs(answers), out)
    return status, out.getvalue()


def test_the_exit_status_is_zero_when_all_passes_and_the_last_line_counts(tmp_path: Path) -> None:
    write(tmp_path, *rows(*LIFE), *rows(*LIFE, path="Q/main"))
    assert execute(tmp_path, GOOD) == (0, "2 passed, 0 failed\n")


def test_the_exit_status_is_one_when_a_path_fails(tmp_path: Path) -> None:
    write(tmp_path, *rows(*LIFE), *rows(line("client", "status"), path="Q/main"))
    status, text = execute(tmp_path, BAD)
    assert status == 1
    assert "FAILED path P/main, row 5, ord_status: expected 1, got 2" in text
    assert text.endswith("\n1 passed, 1 failed\n")


def test_a_folder_with_nothing_to_run_is_not_a_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, GOOD) == (2, "")
    assert "holds neither order_state_scenarios.csv nor algo_cases.json" in capsys.readouterr().err


def test_each_path_gets_a_fresh_engine_with_its_policies_and_they_are_printed(tmp_path: Path) -> None:
    queued = rows(line("client", "status", policy="chained_replace=queue"), path="Q/main")
    write(tmp_path, *rows(*LIFE), *queued)
    seen: list[dict[str, str]] = []
    result = run(tmp_path, rigs(GOOD, seen), tmp_path)
    assert seen == [{}, {"chained_replace": "queue"}]
    assert report_lines(result) == ["policy of path Q/main: chained_replace=queue", "2 passed, 0 failed"]


def test_an_engine_that_cannot_be_made_fails_its_path_only(tmp_path: Path) -> None:
    def make(policy: dict[str, str]) -> Rig:
        if policy:
            raise ValueError("no such policy")
        return ListRig(GOOD)

    write(tmp_path, *rows(line("client", "status", policy="x=y"), path="Q/main"), *rows(*LIFE))
    result = run(tmp_path, make, tmp_path)
    assert result.failures == ["path Q/main, no engine: ValueError: no such policy"]
    assert result.passed == 1


def test_the_json_form_is_one_object_with_the_counts(tmp_path: Path) -> None:
    write(tmp_path, *rows(*LIFE))
    status, text = execute(tmp_path, BAD, "--json")
    told = json.loads(text)
    assert (status, told["passed"], told["failed"], len(told["failures"])) == (1, 0, 1, 1)
    assert text.count("\n") == 1


def test_a_listed_deviation_is_told_with_its_reason_and_is_no_failure(tmp_path: Path) -> None:
    write(tmp_path, *rows(*LIFE))
    listed = [Deviation("P/main", 5, "the venue's word counts")]
    result = run(tmp_path, rigs(BAD), tmp_path, listed)
    lines = report_lines(result)
    assert lines[0] == "1 listed deviation:"
    assert lines[1].endswith("(the venue's word counts)")
    assert lines[-1] == "0 passed, 0 failed"


@pytest.mark.parametrize("listed", [Deviation("P/main", 3, "why not"), Deviation("Q/main", 5, "why not")])
def test_a_deviation_covers_only_the_row_that_it_names(tmp_path: Path, listed: Deviation) -> None:
    write(tmp_path, *rows(*LIFE))
    assert len(run(tmp_path, rigs(BAD), tmp_path, [listed]).failures) == 1


@pytest.mark.parametrize("grade", ["source", ""])
def test_a_row_from_a_published_source_cannot_be_deviated_from(tmp_path: Path, grade: str) -> None:
    write(tmp_path, *rows(*({**fields, "grade": grade} for fields in LIFE)))
    assert len(run(tmp_path, rigs(BAD), tmp_path, [Deviation("P/main", 5, "why not")]).failures) == 1


@pytest.mark.parametrize("listed", [[Deviation("P", 1, " ")], [Deviation("P", n, "why") for n in range(6)]])
def test_more_than_five_deviations_or_one_without_reason_are_refused(
    tmp_path: Path, listed: list[Deviation]
) -> None:
    write(tmp_path, *rows(*LIFE))
    with pytest.raises(ConformanceFileError, match="at most 5 deviations"):
        run(tmp_path, rigs(GOOD), tmp_path, listed)


# --- the order of precedence -----------------------------------------------------------------------------


def write_precedence(folder: Path, *ranks: str) -> Path:
    path = folder / "order_status_precedence.csv"
    path.write_text("precedence,OrdStatus,name,source\n" + "".join(f"{rank},name,\n" for rank in ranks))
    return path


def test_the_highest_of_two_statuses_is_what_an_order_must_report(tmp_path: Path) -> None:
    path = write_precedence(tmp_path, "12,6", "11,E", "10,3", "9,B", "8,2", "4,1", "2,0", "2,8", "2,A")
    ranks = load_precedence(path)
    assert precedence_failures(ranks) == []
    assert precedence_failures({**ranks, "2": 13}) == [
        "6 and 2 apply: expected 2, got 6",
        "E and 2 apply: expected 2, got E",
        "3 and 2 apply: expected 2, got 3",
    ]


def test_a_wrong_order_of_precedence_is_one_failure_of_the_run(tmp_path: Path) -> None:
    write(tmp_path, *rows(*LIFE))
    write_precedence(tmp_path, "1,6", "2,E")
    result = run(tmp_path, rigs(GOOD), tmp_path)
    assert (result.passed, result.failures) == (
        1,
        ["order_status_precedence.csv: 6 and E apply: expected E, got 6"],
    )
    write_precedence(tmp_path, "2,6", "1,E")
    assert run(tmp_path, rigs(GOOD), tmp_path).passed == 2


# --- algorithm cases -------------------------------------------------------------------------------------


def algo_result(folder: Path, kinds: Mapping[str, AlgoFunction], *cases: Mapping[str, object]) -> Result:
    (folder / "algo_cases.json").write_text(json.dumps(cases))
    return run(folder, rigs({}), folder / "data", kinds=kinds)


def case(
    expected: Mapping[str, object], tolerance: Mapping[str, object], **inputs: object
) -> dict[str, object]:
    return {
        "id": "c1",
        "kind": "echo",
        "inputs": inputs,
        "expected": expected,
        "tolerance": tolerance,
        "source": "",
    }


def echo(result: object) -> dict[str, AlgoFunction]:
    return {"echo": lambda _inputs, _data: {"value": result}}


def test_kinds_that_nobody_has_asked_for_are_counted_in_words_and_fail_nothing(tmp_path: Path) -> None:
    result = algo_result(tmp_path, {}, case({"value": 1}, {"abs": 0}), case({"value": 2}, {"abs": 0}))
    assert report_lines(result) == [
        "2 algorithm cases of kinds that are not asked for yet: echo 2",
        "0 passed, 0 failed",
    ]


@pytest.mark.parametrize(
    ("expected", "got", "tolerance", "agrees"),
    [
        (100, 100, {"abs": 0}, True),
        (100, 101, {"abs": 0}, False),
        (0.1, 0.1004, {"abs": 0.0005}, True),
        (0.1, 0.1006, {"abs": 0.0005}, False),
        (1000.0, 1009, {"rel": 0.01}, True),
        (1000.0, 1011, {"rel": 0.01}, False),
        ("10000.10", Decimal("10000.1"), {"abs": 0}, True),
        ([1, 2], [1, 2], {"abs": 0}, True),
        ([1, 2], [1, 3], {"abs": 0}, False),
        ([1, 2], [1, 2, 3], {"abs": 0}, False),
        ([["B", 500]], (("B", 500),), {"abs": 0}, True),
        ("green", "green", {"abs": 1}, True),
        ("green", "red", {"abs": 1}, False),
        (1, float("nan"), {"abs": 1}, False),
    ],
)
def test_results_are_compared_element_by_element_within_the_tolerance(
    tmp_path: Path, expected: object, got: object, tolerance: dict[str, object], agrees: bool
) -> None:
    result = algo_result(tmp_path, echo(got), case({"value": expected}, tolerance))
    assert (result.passed, len(result.failures)) == ((1, 0) if agrees else (0, 1))


def test_a_failed_case_names_case_key_and_element(tmp_path: Path) -> None:
    wrong = algo_result(tmp_path, echo([1, [2, 9]]), case({"value": [1, [2, 3]]}, {"abs": 0}))
    assert wrong.failures == ["case c1, value[1][1]: expected [1, [2, 3]], got [1, [2, 9]]"]
    absent = algo_result(tmp_path, echo(1), case({"other": 1}, {"abs": 0}))
    assert absent.failures == ["case c1, other: expected 1, got none"]


def test_a_case_whose_function_fails_turns_red(tmp_path: Path) -> None:
    def broken(_inputs: Mapping[str, object], _data: Path) -> Mapping[str, object]:
        raise ZeroDivisionError("no volume")

    result = algo_result(tmp_path, {"echo": broken}, case({"value": 1}, {"abs": 0}))
    assert result.failures == ["case c1: ZeroDivisionError: no volume"]


def test_a_case_whose_market_data_is_absent_is_skipped_and_counted_in_words(tmp_path: Path) -> None:
    needing = case({"value": 1}, {"abs": 0}, files="ticks/ibm_2013")
    assert report_lines(algo_result(tmp_path, echo(1), needing)) == [
        "1 case skipped because market data is absent: c1",
        "0 passed, 0 failed",
    ]
    (tmp_path / "data" / "ticks").mkdir(parents=True)
    (tmp_path / "data" / "ticks" / "ibm_2013_trade.zip").touch()
    assert algo_result(tmp_path, echo(1), needing).passed == 1


def test_a_malformed_file_of_cases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "algo_cases.json").write_text('[{"id": "c1"}]')
    with pytest.raises(ConformanceFileError, match=r"algo_cases\.json: .*kind"):
        run(tmp_path, rigs({}), tmp_path)
