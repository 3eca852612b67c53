"""The projector: rows equal the state after every batch and every interruption, and nobody else writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, Table, delete, insert, text, update
from sqlalchemy.exc import DatabaseError as SqlError
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from qtinfra.core import commands as cmd
from qtinfra.core.commands import ActionKind
from qtinfra.core.decimals import exact
from qtinfra.core.events import Entry
from qtinfra.core.exceptions import DatabaseError
from qtinfra.core.extended_models import AckPolicy, HaltPolicy, Policies
from qtinfra.core.fees import FeeLine, FeeSchedule, FeeTier
from qtinfra.core.models import Currency
from qtinfra.core.routing import RoutingPolicy
from qtinfra.core.runs import each
from qtinfra.engine.kernel import replay
from qtinfra.engine.state import State
from qtinfra.repository import tables
from qtinfra.repository.progress import Progress
from qtinfra.repository.projector import ProjectionError, Projector, clear
from qtinfra.runtime.recovery import snapshot_of
from tests.simulation.test_engine_properties import ACTS, World
from tests.support.builders import ALPHA, BETA, DAYS, SYMBOL, Desk, dec, instrument, quote, submit
from tests.support.read_tables import ROWS, compare, head_after, journal_of, projector_on, stored

pytestmark = pytest.mark.integration

seeds = st.integers(0, 2**32)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=12)
quick = settings(  # a shorter session says nothing more: no shrinking
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


# --- what happens in a session -----------------------------------------------------------------------------


def _load(world: World, whim: int) -> None:
    symbol = f"L{whim % 2}"
    world.desk.run(cmd.LoadPosition(BETA, symbol, dec(whim % 3 * 50), dec(40), DAYS[world.desk.day]))


def _load_cash(world: World, whim: int) -> None:
    name = (ALPHA, BETA)[whim % 2]
    world.desk.run(cmd.LoadCash(name, Currency.USD, dec(whim), DAYS[world.desk.day]))


def _charge(world: World, whim: int) -> None:
    line = FeeLine((FeeTier(dec(0), dec("0.01")),))
    made = FeeSchedule(
        f"S{whim}", f"client-{ALPHA}", Currency.USD, DAYS[world.desk.day], (line,), minimum=dec(1)
    )
    world.desk.run(cmd.SetFeeSchedule(made))


def _split(world: World, whim: int) -> None:
    num, den = ((2, 1), (3, 2), (1, 2))[whim % 3]
    action = cmd.CorporateAction(
        f"CA{whim}", SYMBOL, ActionKind.SPLIT, DAYS[world.desk.day], ratio_num=dec(num), ratio_den=dec(den)
    )
    world.desk.run(action)


def _halt_before_open(world: World, whim: int) -> None:
    world.desk.run(cmd.HaltInstrument(SYMBOL, bool(whim % 2), "news"))


Act = Callable[[World, int], None]
OPENING: tuple[Act, ...] = (_load, _load_cash, _charge, _load)
RARE: tuple[Act, ...] = (_split, _halt_before_open)
USUAL: tuple[Act, ...] = (World.submit, World.deliver, World.deliver, World.trade, World.bust_or_correct)


def session(seed: int) -> list[Entry]:
    """The records of a random session; the engine's own tests check that it is sound."""
    draw = Random(seed)
    world = World(Policies(ack=draw.choice(list(AckPolicy)), halt=draw.choice(list(HaltPolicy))))
    world.desk.checked = False
    shares = (instrument("L0", ("XNAS",)), instrument("L1", ("XNAS",)))
    world.desk.run(cmd.SetReference(shares, (), (), ((SYMBOL, Decimal(50)),)))
    chosen = [act for act in OPENING if draw.random() < 0.7]
    for _ in range(draw.randrange(20, 250)):
        kinds = RARE if draw.random() < 0.01 else ACTS if draw.random() < 0.18 else USUAL
        chosen.append(draw.choice(kinds))
    for act in chosen:
        try:
            act(world, draw.randrange(10_007))
        except AssertionError:  # a split is news to the truthful venues; the records up to there stand
            break
    return world.desk.entries


def a_session() -> list[Entry]:
    """One with fills, a bust, a correction, replaces, cancels and a new day."""
    desk = Desk(("XNAS", "XNYS"), Policies(ack=AckPolicy.ON_ACCEPT), checked=False)
    desk.market.quotes["XNAS"] = quote("XNAS", [(49, 40)], [("50.01", 30)])
    for number in range(12):
        name = f"X{number}"
        desk.working(name, 100 + number, 50, name=(ALPHA, BETA)[number % 2])
    child = desk.child("X0")
    desk.fill(child, 60, "49.5", "E-1")
    desk.fill(child, 40, "49.75", "E-2")
    desk.bust(child, "E-1")
    desk.correct(child, "E-2", 30, "49.5")
    desk.fill(desk.child("X2"), 10, 50, "E-3")
    desk.cancel("C4", "X4")
    desk.canceled(desk.child("X4"))
    desk.replace("R6", "X6", 200, 49)
    desk.replaced(desk.child("X6"))
    desk.new("BAD", "0.5")
    desk.run(submit("X0", 999))
    desk.close_day()
    desk.next_day()
    return desk.entries


@contextmanager
def place() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "tables.sqlite"


@contextmanager
def looking(path: Path) -> Iterator[Engine]:
    engine = tables.writing_engine(path)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables.sqlite"


# --- equal rows --------------------------------------------------------------------------------------------


@quick
@given(seed=seeds, sizes=cuts)
def test_the_rows_equal_the_state_after_every_batch(seed: int, sizes: list[int]) -> None:
    entries = session(seed)
    journal = journal_of(entries)
    with place() as path, looking(path) as engine:
        projector = projector_on(path)
        projector.restore(journal)
        state, start, turn = State(), 0, 0
        while start < len(entries):
            part = entries[start : start + sizes[turn % len(sizes)]]
            projector.apply(part, head_after(journal, part))
            for entry in part:
                replay(state, entry)
            compare(engine, state)
            start, turn = start + len(part), turn + 1
        projector.close()
    journal.close()


@quick
@given(seed=seeds, sizes=cuts)
def test_a_projector_that_dies_between_any_two_batches_leaves_rows_that_the_next_one_continues(
    seed: int, sizes: list[int]
) -> None:
    entries = session(seed)
    journal = journal_of(entries)
    with place() as path, place() as other, looking(path) as engine, looking(other) as whole:
        start, turn = 0, 0
        while start < len(entries):
            part = entries[start : start + sizes[turn % len(sizes)]]
            projector = projector_on(path)
            projector.restore(journal)
            projector.apply(part, head_after(journal, part))
            projector.close()
            start, turn = start + len(part), turn + 1
        at_once = projector_on(other)
        at_once.catch_up(journal)
        at_once.close()
        assert stored(engine) == stored(whole), (
            "in one piece and in many gives equal rows, sequences included"
        )
    journal.close()


@pytest.mark.parametrize("routing", [None, RoutingPolicy()], ids=["by fees", "scored"])
def test_orders_that_share_a_record_have_the_rows_of_orders_alone(routing: RoutingPolicy | None) -> None:
    desk = Desk(("XNAS", "XNYS"), checked=False)
    if routing is not None:
        desk.run(cmd.SetRoutingPolicy(routing))
    desk.market.quotes["XNAS"] = quote("XNAS", [(49, 40)], [("50.01", 30)])
    desk.new("first", 10, 50)
    entries, moments = desk.entries, iter(range(10**18, 10**19))
    batch = [(cmd.Inbound(submit(f"X{number}", 10 + number, 50), "ann", "c", 5), None) for number in range(9)]
    with exact():
        desk.kernel.execute_all(batch, lambda: next(moments), desk.market, [], entries)
    desk.fill(desk.child("X3"), 5, 50, "E-1")
    alone = [one for entry in entries for one in each(entry)]
    assert len(alone) == len(entries) + 8
    rows = []
    for records in (entries, alone):
        journal = journal_of(records)
        with place() as path, looking(path) as engine:
            projector = projector_on(path)
            projector.catch_up(journal)
            projector.close()
            compare(engine, desk.state)
            rows.append({name: table for name, table in stored(engine).items() if name in ROWS})
        journal.close()
    assert rows[0] == rows[1]
    assert {row["command"] for row in rows[0]["history"].values()} == {"SubmitOrder", "RecordVenueReport"}


def test_a_rebuild_gives_equal_rows(path: Path) -> None:
    journal = journal_of(a_session())
    projector = projector_on(path)
    projector.catch_up(journal, batch=7)
    projector.close()
    with looking(path) as engine:
        before = stored(engine)
        clear(engine)
        assert all(not rows for rows in stored(engine).values())
        again = projector_on(path)
        again.catch_up(journal)
        again.close()
        assert stored(engine) == before
        assert before["orders"] and before["executions"] and before["positions"] and before["history"]
    journal.close()


def test_a_projector_continues_from_a_snapshot_that_is_not_ahead_of_it(path: Path) -> None:
    entries = a_session()
    journal = journal_of(entries)
    half = entries[: len(entries) // 2]
    state = State()
    for entry in half:
        replay(state, entry)
    journal.save_snapshot(snapshot_of(state, head_after(journal, half).hash))
    projector = projector_on(path)
    projector.restore(journal)
    projector.apply(half, head_after(journal, half))
    projector.close()
    again = projector_on(path)
    assert again.catch_up(journal) == len(entries) - len(half)
    again.close()
    for entry in entries[len(half) :]:
        replay(state, entry)
    with looking(path) as engine:
        compare(engine, state)
    journal.close()


def test_a_snapshot_ahead_of_the_checkpoint_is_passed_over(path: Path) -> None:
    entries = a_session()
    journal = journal_of(entries)
    state = State()
    for entry in entries:
        replay(state, entry)
    journal.save_snapshot(snapshot_of(state, journal.head.hash))
    projector = projector_on(path)
    projector.catch_up(journal)
    projector.close()
    with looking(path) as engine:
        compare(engine, state)
        assert len(stored(engine)["history"]) > len(state.orders)
    journal.close()


def test_the_last_reason_given_stays_when_later_changes_give_none(path: Path) -> None:
    desk = Desk(checked=False)
    desk.working()
    desk.cancel("C")
    desk.canceled(desk.child(), reason="asked for")
    desk.fill(desk.child(), 10)
    desk.new("BAD", "0.5")
    journal = journal_of(desk.entries)
    projector = projector_on(path)
    projector.catch_up(journal, batch=1)
    projector.close()
    with looking(path) as engine:
        rows = {row["cl_ord_id"]: row for row in stored(engine)["orders"].values()}
    cancelled, refused = rows["X"], rows["BAD"]
    assert cancelled["status"] == "CANCELLED" and cancelled["cum_qty"] == 10 and cancelled["reason"]
    assert refused["reason_code"] == "lot_size" and refused["reason"]
    journal.close()


# --- refusals ----------------------------------------------------------------------------------------------


def test_a_journal_of_another_chain_is_refused_by_name(path: Path) -> None:
    ours, longer = journal_of(a_session()), Desk(checked=False)
    for number in range(80):
        longer.new(f"Y{number}", 10 + number)
    other = journal_of(longer.entries)
    projector = projector_on(path)
    projector.catch_up(ours)
    projector.close()
    for journal in (other, journal_of(longer.entries[:3])):
        again = projector_on(path)
        with pytest.raises(ProjectionError) as caught:
            again.catch_up(journal)
        assert caught.value.error_code == "other_journal"
        again.close()
        journal.close()
    ours.close()


def test_records_that_do_not_follow_are_refused_and_nothing_is_written(path: Path) -> None:
    entries = a_session()
    journal = journal_of(entries)
    projector = projector_on(path)
    projector.restore(journal)
    with pytest.raises(ProjectionError) as caught:
        projector.apply(entries[1:3], head_after(journal, entries[:3]))
    assert caught.value.error_code == "projection_gap"
    with pytest.raises(ProjectionError):
        projector.apply(entries[:3], head_after(journal, entries[:2]))
    assert projector.checkpoint.seq == 0
    projector.close()
    journal.close()


def test_a_second_projector_on_the_same_tables_is_found_out(path: Path) -> None:
    entries = a_session()
    journal = journal_of(entries)
    first, second = projector_on(path), projector_on(path)
    first.restore(journal)
    second.restore(journal)
    first.apply(entries[:4], head_after(journal, entries[:4]))
    with pytest.raises(ProjectionError) as caught:
        second.apply(entries[:5], head_after(journal, entries[:5]))
    assert caught.value.error_code == "projection_conflict"
    assert projector_seq(path) == entries[3].last_seq
    first.close()
    second.close()
    journal.close()


def projector_seq(path: Path) -> int:
    projector = projector_on(path)
    seq = projector.checkpoint.seq
    projector.close()
    return seq


def test_a_batch_that_fails_half_way_leaves_no_trace(path: Path) -> None:
    entries = a_session()
    journal = journal_of(entries)
    projector = projector_on(path)
    projector.restore(journal)
    projector.apply(entries[:5], head_after(journal, entries[:5]))
    with looking(path) as engine:
        before = stored(engine)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "CREATE TRIGGER full BEFORE INSERT ON history BEGIN SELECT RAISE(ABORT, 'disk full'); END"
                )
            )
        with pytest.raises(DatabaseError, match="disk full"):
            projector.apply(entries[5:20], head_after(journal, entries[:20]))
        with engine.begin() as connection:
            connection.execute(text("DROP TRIGGER full"))
        assert stored(engine) == before
        with pytest.raises(ProjectionError):
            projector.apply(entries[5:20], head_after(journal, entries[:20]))
        projector.close()
        again = projector_on(path)
        again.catch_up(journal)
        again.close()
        state = State()
        for entry in entries:
            replay(state, entry)
        compare(engine, state)
    journal.close()


@pytest.mark.parametrize("table", tables.PROJECTED, ids=lambda table: str(table.name))
def test_nobody_but_the_projector_writes_a_table(table: Table, path: Path) -> None:
    journal = journal_of(a_session())
    projector = projector_on(path)
    projector.catch_up(journal)
    projector.close()
    journal.close()
    with looking(path) as engine:
        before = stored(engine)
        column = next(iter(table.columns))
        copy = insert(table).from_select([part.name for part in table.columns], table.select().limit(1))
        for change in (copy, update(table).values({column.name: column}), delete(table)):
            refused = pytest.raises((IntegrityError, SqlError), match="only the projector writes it")
            with refused, engine.begin() as connection:
                connection.execute(change)
        assert stored(engine) == before


def test_tables_of_another_version_are_refused_by_name(path: Path) -> None:
    projector_on(path).close()
    with looking(path) as engine:
        with engine.begin() as connection:
            connection.execute(update(tables.schema_version).values(version=99))
        with pytest.raises(DatabaseError) as caught:
            Projector(engine, Progress())
    assert caught.value.error_code == "schema_version"
    assert caught.value.context == {"found": 99, "expected": tables.SCHEMA_VERSION}


def test_a_file_of_somebody_else_is_left_alone(path: Path) -> None:
    with looking(path) as engine:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE theirs (a)"))
        with pytest.raises(DatabaseError) as caught:
            tables.prepare(engine)
    assert caught.value.error_code == "schema_version"


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with looking(path) as engine, pytest.raises((DatabaseError, SQLAlchemyError)):
        tables.prepare(engine)
