"""Every benchmark at a tiny scale: well-formed results about work that was really done. Nothing is timed."""

import json
import platform
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from qtinfra.bench import BENCHES, BenchResult, main, run
from qtinfra.bench.capacity import Engine, take_through
from qtinfra.bench.decisions import crowded_stage, offers_of, route_cases, stage
from qtinfra.bench.desk import Desk, Tally, open_orders
from qtinfra.bench.harness import Laps, interpreter, percentile, sized
from qtinfra.bench.journaling import frames_of, recorded_entries, written_bytes
from qtinfra.bench.mix import (
    REFUSALS,
    Mix,
    make_mix,
    scaled_mix,
    spoilt,
    standing_market,
    taking_orders,
    wire_bytes,
    wire_messages,
)
from qtinfra.bench.recovery import write_journal
from qtinfra.bench.registry import HTTP
from qtinfra.bench.street import MatchingStreet
from qtinfra.core.commands import CancelOrder, Inbound
from qtinfra.core.events import OrderRejected
from qtinfra.core.exceptions import OrderValidationError
from qtinfra.core.extended_models import LimitRule
from qtinfra.core.models import OrderStatus
from qtinfra.core.reports import ExecutionReport, OrderCancelReject, VenueCancel, VenueNewOrder
from qtinfra.core.validation.wire import parse_new_order
from qtinfra.engine.audit import audit
from qtinfra.engine.state import state_hash
from qtinfra.infra.clock import ManualClock
from qtinfra.journal.memory import MemoryJournal
from qtinfra.journal.sqlite import SqliteJournal
from qtinfra.runtime.recovery import recover
from qtinfra.runtime.replay import replay_journal

pytestmark = pytest.mark.unit

TINY = 0.003


@pytest.fixture
def mix() -> Mix:
    return make_mix(20, 10)


@pytest.fixture
def desk(mix: Mix) -> Desk:
    journal = MemoryJournal.fresh()
    return Desk(mix, journal, ManualClock(1), MatchingStreet(mix), epoch=journal.epoch)


@pytest.mark.parametrize("name", [name for name in BENCHES if name not in HTTP])
def test_a_benchmark_gives_a_well_formed_result_at_a_tiny_scale(name: str) -> None:
    said: list[str] = []
    (result,) = run([name], scale=TINY, progress=said.append)
    assert result.name == name
    assert said
    assert result.ops_per_s > 0
    assert result.cpu_us_per_op > 0
    assert 0 < result.p50_us <= result.p99_us
    assert result.control > 0
    assert result.ratio == pytest.approx(result.ops_per_s / result.control)
    assert result.control_name and result.note
    assert bool(result.target) == (name != "end_to_end_scored")  # nobody set a target for that one
    assert result.met is None
    assert msgspec.json.decode(msgspec.json.encode(result), type=BenchResult) == result


def test_the_result_has_the_documented_fields() -> None:
    documented = (
        "name",
        "unit",
        "ops_per_s",
        "cpu_us_per_op",
        "p50_us",
        "p99_us",
        "control",
        "ratio",
        "note",
    )
    assert BenchResult.__struct_fields__[: len(documented)] == documented


def test_the_note_names_the_interpreter_and_how_it_was_built() -> None:
    (result,) = run(["rules"], scale=TINY)
    assert interpreter() in result.note
    assert platform.python_version() in interpreter()
    assert interpreter("'--enable-optimizations' '--with-lto'").endswith(
        "configured with --enable-optimizations --with-lto"
    )
    assert interpreter("'--prefix=/usr'").endswith("configured without --enable-optimizations")


def test_an_unknown_benchmark_is_refused_before_any_runs() -> None:
    with pytest.raises(KeyError, match="no benchmark 'nope'"):
        run(["parse", "nope"], scale=TINY)


def test_json_output_is_one_list_and_the_text_has_a_row_per_benchmark(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["rules", "routing", "--json", "--scale", str(TINY)]) == 0
    printed = capsys.readouterr()
    assert [item["name"] for item in json.loads(printed.out)] == ["rules", "routing"]
    assert "rules" in printed.err
    assert main(["rules", "--scale", str(TINY)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("rules ")


# -- the mix ---------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_orders(mix: Mix) -> None:
    assert list(taking_orders(mix, 50)) == list(taking_orders(mix, 50))
    assert list(taking_orders(mix, 50)) != list(taking_orders(mix, 50, seed=1))


def test_every_limit_is_set_and_whoever_trades_is_approved(mix: Mix) -> None:
    state = stage(mix).state
    assert [rule for rule in LimitRule if not state.limits.get(rule.value)] == []
    assert list(state.risk.approved["ACCOUNT"]) == list(mix.accounts)
    assert {order.trader for order in taking_orders(mix, 50)} == set(state.risk.approved["TRADER"])


@pytest.mark.parametrize("code", REFUSALS)
def test_each_spoilt_order_is_refused_by_the_control_it_names(mix: Mix, code: str) -> None:
    market = standing_market(mix)
    kernel = crowded_stage(mix, market, 10)
    for order in taking_orders(mix, 40, refused_share=0):
        outcome = kernel.execute(Inbound(spoilt(mix, order, code), "client"), 2, market)
        (event,) = outcome.events
        assert isinstance(event, OrderRejected)
        assert event.code == code


def test_one_order_in_twenty_is_refused_and_each_control_refuses_some() -> None:
    mix = make_mix()
    market = standing_market(mix)
    kernel = crowded_stage(mix, market, 10)
    codes: Counter[str] = Counter()
    for order in taking_orders(mix, 4_000):
        for event in kernel.execute(Inbound(order, "client"), 2, market).events:
            if isinstance(event, OrderRejected):
                codes[event.code] += 1
    assert set(codes) == set(REFUSALS)
    assert 0.04 < codes.total() / 4_000 < 0.06


def test_the_bytes_of_an_order_parse_to_that_order(mix: Mix) -> None:
    for order in taking_orders(mix, 100):
        assert parse_new_order(wire_bytes(order)) == order


def test_one_message_in_twenty_is_malformed() -> None:
    messages = wire_messages(make_mix(), 4_000)
    refused = 0
    for data in messages:
        try:
            parse_new_order(data)
        except OrderValidationError:
            refused += 1
    assert 0.04 < refused / len(messages) < 0.06


def test_the_router_sees_three_levels_of_six_venues(mix: Mix) -> None:
    order, book, venues = route_cases(mix, 1)[0]
    assert len(offers_of(order, book)) == 18
    assert len(venues) == 6


# -- the desk --------------------------------------------------------------------------------------


def test_an_order_is_filled_booked_and_answered_within_two_turns(mix: Mix, desk: Desk) -> None:
    orders = list(taking_orders(mix, 200))
    counted, replied, begun = Tally(), [], desk.state.seq
    for messages in ([wire_bytes(order) for order in orders], []):
        before = desk.state.seq
        desk.turn(messages)
        counted.read(desk.loop.journal.read(before))
        replied += [json.loads(reply) for reply in desk.replies]
        counted.send(desk.replies)
    assert counted.replies == len(replied)
    assert counted.events == desk.state.seq - begun
    assert desk.replies == []
    assert counted.orders == 200
    done = Counter(desk.state.orders[order_id].status for order_id in desk.state.orders)
    assert done == {OrderStatus.FILLED: 200 - counted.refused, OrderStatus.REJECTED: counted.refused}
    assert counted.fills >= 200 - counted.refused
    assert not desk.state.open_orders
    assert desk.state.breaks == 0
    assert audit(desk.state) == []
    final = [reply["cl_ord_id"] for reply in replied if not float(reply.get("leaves_qty", 0))]
    assert sorted(set(final)) == sorted(order.cl_ord_id for order in orders)


def test_replies_are_the_json_of_every_report_and_every_refused_cancel_in_order(mix: Mix, desk: Desk) -> None:
    open_orders(desk, 20)
    held = [desk.state.orders[order_id] for order_id in desk.state.open_orders]
    cancels = [CancelOrder(o.account, f"x{n}", o.cl_ord_id) for n, o in enumerate(held)]
    frames = [desk.decide([*cancels, CancelOrder(held[0].account, "y", "unknown")], "client")]
    frames += [desk.turn([wire_bytes(order) for order in taking_orders(mix, 50)]), *desk.settle()]
    said = [effect for frame in frames for effect in frame.effects()]
    assert {ExecutionReport, OrderCancelReject, VenueCancel, VenueNewOrder} <= set(map(type, said))
    replied = [effect for effect in said if isinstance(effect, ExecutionReport | OrderCancelReject)]
    assert desk.replies == [msgspec.json.encode(reply) for reply in replied]
    assert {type(reply) for reply in desk.replies} == {bytes}
    assert not desk.state.open_orders


def test_resting_orders_stay_open(desk: Desk) -> None:
    open_orders(desk, 60)
    assert len(desk.state.open_orders) == 60
    assert desk.replies == []
    assert audit(desk.state) == []


def test_what_a_desk_journals_replays_to_its_state(mix: Mix, tmp_path: Path) -> None:
    journal = SqliteJournal.open(tmp_path / "journal.db")
    desk = Desk(mix, journal, ManualClock(1), MatchingStreet(mix), epoch=journal.epoch)
    open_orders(desk, 20)
    desk.turn([wire_bytes(order) for order in taking_orders(mix, 100)])
    desk.settle()
    found = replay_journal(journal, decide=True)
    journal.close()
    assert found.state_hash == state_hash(desk.state)
    assert found.decide_equal


# -- journal and recovery --------------------------------------------------------------------------


def test_frames_hold_about_a_hundred_events_and_every_entry_once(mix: Mix) -> None:
    entries = recorded_entries(mix, 600, 10)
    frames = list(frames_of(entries, 100))
    assert [entry for frame in frames for entry in frame] == entries
    assert all(100 <= sum(len(entry.events) for entry in frame) < 180 for frame in frames[:-1])


def test_the_control_writes_the_bytes_that_the_journal_writes(mix: Mix, tmp_path: Path) -> None:
    frames = list(frames_of(recorded_entries(mix, 300, 10), 100))
    journal = SqliteJournal.open(tmp_path / "journal.db")
    for frame in frames:
        journal.append(frame)
    stored = [frame.blob for frame in journal._stored(0)]
    journal.close()
    assert stored == written_bytes(frames)


@pytest.mark.parametrize("snapshot_before", [0, 200])
def test_the_recovery_benchmark_recovers_the_state_that_was_written(
    mix: Mix, tmp_path: Path, snapshot_before: int
) -> None:
    written = write_journal(mix, tmp_path / "journal.db", 1_500, 10, snapshot_before)
    journal = SqliteJournal.open(written.path)
    found = recover(journal)
    journal.close()
    assert written.events >= 1_500
    assert state_hash(found.state) == written.state_hash
    assert bool(found.snapshot_seq) is bool(snapshot_before)


def test_the_memory_benchmark_takes_every_order_through(mix: Mix) -> None:
    report = take_through(mix, 150, slices=4)
    assert report.orders == 150
    assert len(report.slice_us) == 4
    assert report.peak_mb >= report.base_mb > 0


# -- measuring -------------------------------------------------------------------------------------


def test_the_small_state_packs_as_the_large_one_does_unless_nothing_is_said(mix: Mix) -> None:
    packing, waiting = Engine(mix, keep=8), Engine(mix)
    for engine in (packing, waiting):
        for order in taking_orders(mix, 200):
            engine.order(order)
    assert packing.kernel.state.packing.rows >= 64
    assert waiting.kernel.state.packing.rows == 0


def test_a_round_without_operations_is_an_error() -> None:
    with pytest.raises(ValueError, match="measures nothing"):
        Laps().run(lambda: 0)


def test_speed_is_the_median_over_rounds_per_operation() -> None:
    laps = Laps()
    for wall_s in (3.0, 1.0, 20.0):
        laps.add(10, wall_s, wall_s / 2)
    assert (laps.speed().wall_s, laps.speed().cpu_s) == (0.3, 0.15)
    assert laps.speed().ops_per_s == pytest.approx(1 / 0.3)


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert (percentile(ordered, 0.5), percentile(ordered, 0.99), percentile([], 0.5)) == (51.0, 100.0, 0.0)


def test_a_scale_shrinks_sizes_but_never_below_the_least() -> None:
    assert (sized(1_000, 0.5), sized(1_000, 0.0001, 20)) == (500, 20)
    assert len(scaled_mix(0.00001).accounts) == 4
