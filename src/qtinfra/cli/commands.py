"""The commands. What they need is imported when they run, so that `--help` and `--version` answer at once."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from qtinfra import __version__
from qtinfra.cli import live, serving, tca
from qtinfra.cli.output import console, note, print_json, progress
from qtinfra.cli.projecting import projector_app
from qtinfra.infra.build import compiled_modules

if TYPE_CHECKING:
    from qtinfra.bootstrap import SimulateOutcome
    from qtinfra.runtime.session import RandomFlow

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="An order and execution management system: orders in, durable decisions, venue orders out.",
    epilog="Begin with 'qtinfra demo'. Every command explains its options with --help.",
)
journal_app = typer.Typer(
    rich_markup_mode=None, help="Look at a journal: verify it, print its end, write it as text."
)
app.add_typer(journal_app, name="journal")
app.add_typer(projector_app, name="projector")


class Feed(StrEnum):
    """Where the market comes from."""

    LOBSTER = "lobster"
    SYNTHETIC = "synthetic"
    NBBO = "nbbo"
    BARS = "bars"


def _file(text: str, *, must_exist: bool = True) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(help=text, exists=must_exist, dir_okay=False, readable=True)
    return found


def _whole(low: int, high: int, text: str) -> typer.models.OptionInfo:
    """An option that takes a whole number within bounds; both are named when it is not."""

    def parse(value: str | int) -> int:
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise typer.BadParameter(f"{value!r} is not a whole number from {low} to {high}")
        return number

    found: typer.models.OptionInfo = typer.Option(help=text, parser=parse, metavar="N")
    return found


JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Seed = Annotated[int, _whole(0, 2**31 - 1, "Seed of all randomness: the same seed gives the same session.")]
Orders = Annotated[int, _whole(1, 1_000_000, "How many orders the random clients send.")]
JournalFile = Annotated[
    Path,
    typer.Argument(metavar="JOURNAL", help="The journal's file.", exists=True, dir_okay=False, readable=True),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        compiled = len(compiled_modules())
        print(f"qtinfra {__version__}" + (f" ({compiled} modules compiled)" if compiled else ""))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version


# --- sessions ----------------------------------------------------------------------------------------------


@app.command(short_help="Run a trading session of twenty minutes on a synthetic market.")
def demo(
    orders: Orders = 150,
    seed: Seed = 1,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the journal here (default: a new directory).", file_okay=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a trading session of twenty market minutes on a synthetic market.

    Three accounts trade six symbols on three venues: sweeps, stops, an iceberg, a bracket, replaces, cancels,
    a refusal by each control, a busted and a corrected trade, a venue that goes away and comes back, a kill
    switch. Algorithms work eight orders of a fourth account. Ends with a blotter, a verified journal and a
    page of transaction costs beside it.
    """
    from qtinfra import bootstrap
    from qtinfra.cli.demo import costs_of, show_costs, show_demo, show_proof, watching

    if journal is not None:
        _refuse_existing(journal / "journal.sqlite", "--journal")
    with watching() as watch:
        outcome = bootstrap.demo(journal, orders=orders, seed=seed, watch=watch)
    costs, page = costs_of(outcome.files.journal)
    if as_json:
        from qtinfra.cli.facts import demo_facts

        print_json(demo_facts(outcome, costs))
    else:
        show_demo(console(), outcome)
        if costs is not None:
            show_costs(console(), costs)
        show_proof(console(), outcome, page)
    _require(outcome.verification.ok and outcome.demo.decide_equal, "the journal does not prove the session")


@app.command()
def simulate(
    feed: Annotated[
        Feed | None,
        typer.Option(help="Recorded order book, recorded quotes and trades, or generated market."),
    ] = None,
    messages: Annotated[Path | None, _file("lobster: the message file that is played.")] = None,
    seed_messages: Annotated[
        Path | None, _file("lobster: message file of the seed book; its first line counts.")
    ] = None,
    seed_book: Annotated[
        Path | None, _file("lobster: orderbook file whose first line is the book to begin with.")
    ] = None,
    official_bbo: Annotated[
        Path | None, _file("lobster: one-level orderbook file to compare the rebuilt best quotes with.")
    ] = None,
    quotes: Annotated[Path | None, _file("nbbo: zip with a day's best bids and offers.")] = None,
    trades: Annotated[Path | None, _file("nbbo: zip with the same day's trades.")] = None,
    minutes: Annotated[int | None, _whole(2, 390, "synthetic: length of the session (default 20).")] = None,
    symbols: Annotated[
        str | None, typer.Option(help="synthetic: symbols, separated by commas (default all six).")
    ] = None,
    orders: Orders = 500,
    seed: Seed = 1,
    batch: Annotated[int, _whole(1, 10_000, "Most records in one durable write; changes no decision.")] = 64,
    journal: Annotated[
        Path | None, typer.Option(help="Keep the journal in this new file (default: throw it away).")
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="No feed: crashes, disk, network and venue faults by seed.")
    ] = False,
    seeds: Annotated[str, typer.Option(metavar="A..B", help="faults: which seeds.")] = "1..100",
    events: Annotated[int, _whole(1, 100_000, "faults: least events of each seed.")] = 300,
    workers: Annotated[int | None, _whole(1, 256, "faults: processes (default one per core).")] = None,
    script: Annotated[Path | None, _file("faults: play this saved script instead.")] = None,
    algo: Annotated[
        str | None, typer.Option(help="No random orders: the lab, with vwap, twap, pov, is or several.")
    ] = None,
    rate: Annotated[str, typer.Option(help="algo: POV's own / (own + others).")] = "0.05",
    data: Annotated[
        Path | None, typer.Option(help="bars: folder of SYMBOL_1min_*.csv.gz.", exists=True, file_okay=False)
    ] = None,
    routing_report: Annotated[
        bool, typer.Option("--routing-report", help="synthetic: score routes; predicted against realised.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Send random orders into a market, then prove the journal.

    The journal is replayed, every decision is taken again from its recorded inputs, and the hash chain is
    verified against signed heads that stand in a file of their own.
    """
    if faults:
        from qtinfra.cli.faults import simulate_faults

        simulate_faults(seeds, events, workers, script, as_json)
        return
    if feed is None:
        raise _bad("--feed", "name one, or --faults")
    if routing_report and (algo is not None or feed is not Feed.SYNTHETIC):
        raise _bad("--routing-report", "goes with --feed synthetic and random orders alone")
    files = FeedFiles(messages, seed_messages, seed_book, official_bbo, quotes, trades, minutes, symbols)
    if algo is not None or feed is Feed.BARS:
        _run_lab(feed, files, algo, rate, data, seed, workers, as_json)
        return
    _check_feed(feed, files)
    from qtinfra.runtime.session import RandomFlow

    flow = RandomFlow(orders, seed, batch)
    _show_session(_run_feed(files, flow, journal, routing_report), journal, as_json)


class FeedFiles(NamedTuple):
    """What the options say about the market; what belongs to another feed is None."""

    messages: Path | None
    seed_messages: Path | None
    seed_book: Path | None
    official_bbo: Path | None
    quotes: Path | None
    trades: Path | None
    minutes: int | None
    symbols: str | None


def _run_feed(files: FeedFiles, flow: RandomFlow, journal: Path | None, scored: bool) -> SimulateOutcome:
    """Trade in the market of these files, into a new journal."""
    from qtinfra import bootstrap

    if journal is not None:
        _refuse_existing(journal, "--journal")
    messages, seed_messages, seed_book = files.messages, files.seed_messages, files.seed_book
    with progress("simulating") as advance:
        if messages is not None and seed_messages is not None and seed_book is not None:
            return bootstrap.simulate_lobster(
                messages,
                seed_messages,
                seed_book,
                flow,
                official_bbo=files.official_bbo,
                journal=journal,
                progress=advance,
            )
        if files.quotes is not None and files.trades is not None:
            return bootstrap.simulate_nbbo(
                files.quotes,
                files.trades,
                flow,
                journal=journal,
                progress=advance,
            )
        return bootstrap.simulate_synthetic(
            _symbols(files.symbols),
            20 if files.minutes is None else files.minutes,
            flow,
            journal=journal,
            progress=advance,
            scored=scored,
        )


def _run_lab(
    feed: Feed,
    files: FeedFiles,
    algo: str | None,
    rate: str,
    data: Path | None,
    seed: int,
    workers: int | None,
    as_json: bool,
) -> None:
    from qtinfra.cli import lab

    if algo is None:
        raise _bad("--algo", "--feed bars needs one: vwap, twap, pov, is or several with commas")
    setups = lab.setups_of(algo, rate)
    if feed is Feed.BARS:
        if data is None:
            raise _bad("--data", "--feed bars needs the folder of its files; none was given")
        _check_feed(feed, files._replace(symbols=None))
        lab.simulate_bars(setups, data, files.symbols, seed, workers, as_json)
        return
    if feed is Feed.SYNTHETIC:
        raise _bad("--feed", "--algo runs on bars, nbbo and lobster, not on synthetic")
    _check_feed(feed, files)
    paths = (files.quotes, files.trades) if feed is Feed.NBBO else files[:3]
    lab.simulate_ticks(setups, feed.value, tuple(str(path) for path in paths), seed, as_json)


def _show_session(outcome: SimulateOutcome, journal: Path | None, as_json: bool) -> None:
    """Print the session; a session that its journal does not prove is an error."""
    from qtinfra.cli.facts import routing_facts, simulate_facts

    facts = simulate_facts(outcome, journal)
    if as_json:
        print_json(facts | (routing_facts(outcome.routing) if outcome.routing is not None else {}))
    else:
        from qtinfra.cli.tables import show_facts

        show_facts(console(), "Session", facts)
        if outcome.routing is not None:
            from qtinfra.engine.routing_analytics import reliability_table

            console().print(reliability_table(outcome.routing), highlight=False, markup=False)
    session = outcome.session
    proved = session.decide_equal and session.state_hash == session.replay_state_hash
    _require(not session.invariant_violations, f"{session.invariant_violations} invariants are violated")
    _require(proved and outcome.verification.ok, "the journal does not prove the session")


_OPTIONS = {  # option -> the feed it belongs to, and whether that feed needs it
    "messages": (Feed.LOBSTER, True),
    "seed_messages": (Feed.LOBSTER, True),
    "seed_book": (Feed.LOBSTER, True),
    "official_bbo": (Feed.LOBSTER, False),
    "quotes": (Feed.NBBO, True),
    "trades": (Feed.NBBO, True),
    "minutes": (Feed.SYNTHETIC, False),
    "symbols": (Feed.SYNTHETIC, False),
}


def _check_feed(feed: Feed, files: FeedFiles) -> None:
    """Each option belongs to one feed, and a recording needs its files."""
    given = files._asdict()
    for name, (owner, _) in _OPTIONS.items():
        if owner is not feed and given[name] is not None:
            raise _bad(_option(name), f"does not go with --feed {feed}: {given[name]}")
    for name, (owner, needed) in _OPTIONS.items():
        if owner is feed and needed and given[name] is None:
            raise _bad(_option(name), f"--feed {feed} needs this file; none was given")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _symbols(text: str | None) -> tuple[str, ...]:
    from qtinfra.bootstrap import SYNTHETIC_SYMBOLS

    if text is None:
        return SYNTHETIC_SYMBOLS
    named = tuple(dict.fromkeys(part.strip().upper() for part in text.split(",")))
    for symbol in named:
        if symbol not in SYNTHETIC_SYMBOLS:
            raise _bad("--symbols", f"{symbol!r} is not one of {', '.join(SYNTHETIC_SYMBOLS)}")
    return named


# --- journals ----------------------------------------------------------------------------------------------


@app.command()
def replay(
    journal: JournalFile,
    decide: Annotated[
        bool, typer.Option("--decide", help="Also take every decision again and compare the bytes.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Rebuild the state from a journal and print its hash."""
    from qtinfra import bootstrap
    from qtinfra.cli.facts import replay_facts

    result, recovered = bootstrap.replay(journal, decide=decide)
    _say_recovered(recovered)
    facts = replay_facts(journal, result, recovered)
    if as_json:
        print_json(facts)
    else:
        from qtinfra.cli.tables import show_facts

        show_facts(console(), "Replay", facts)
    where = result.first_difference
    _require(result.decide_equal is not False, f"today's rules decide otherwise from sequence {where} on")


@journal_app.command(short_help="Verify a journal, or an export of one.")
def verify(
    journal: JournalFile,
    anchor: Annotated[
        Path | None, _file("Signed heads (default: JOURNAL.anchors.jsonl, if it exists).")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|HEX", help="Public key, as PEM file or 64 hex digits (default: JOURNAL.pub.pem)."
        ),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay/--no-replay", help="Replay as far as there are snapshots to compare.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Verify a journal, or an export of one (.jsonl), from its first record on.

    The hash chain shows edits, deletions and insertions. Signed heads show a cut tail or a history written
    anew, up to the newest of them; the answer says what stands after it. Each snapshot in the journal must
    hold the state that a replay of the records leads to; one of another version is not comparable, and with
    --no-replay none is compared: the answer says so.
    """
    from qtinfra import bootstrap
    from qtinfra.cli.facts import verify_facts

    files = bootstrap.Evidence.of(journal)
    if anchor is None and files.anchors.is_file():
        anchor = files.anchors
    if key is None and files.public_key.is_file():
        key = str(files.public_key)
    if anchor is not None and key is None:
        raise _bad("--key", f"the signed heads in {anchor} cannot be checked without a public key")
    with progress("comparing snapshots") as advance:
        signer = key if anchor is not None else None
        found = bootstrap.verify(journal, anchor, signer, replays=replay, progress=advance)
    _say_recovered(found.recovered)
    if as_json:
        print_json(verify_facts(found))
    else:
        from qtinfra.cli.tables import show_verification

        show_verification(console(), found)
    if not found.ok:
        note(f"{found.reason} (first bad sequence: {found.first_bad_seq})")
        raise typer.Exit(78)


@journal_app.command(short_help="Print a journal's last sequence and the hash there.")
def head(journal: JournalFile, as_json: JsonFlag = False) -> None:
    """Print where a journal ends: its last sequence and the hash of the chain there."""
    from qtinfra import bootstrap
    from qtinfra.cli.facts import head_facts

    end, recovered = bootstrap.head(journal)
    _say_recovered(recovered)
    facts = head_facts(journal, end, recovered)
    if as_json:
        print_json(facts)
    else:
        print(f"shard {end.shard}  epoch {end.epoch}  sequence {end.seq}  hash {end.hash.hex()}")


@journal_app.command(short_help="Write a journal as JSON Lines.")
def export(
    journal: JournalFile,
    out: Annotated[
        Path | None, typer.Option(help="Write to this new file (default: standard output).")
    ] = None,
) -> None:
    """Write a journal as JSON Lines: one record a line, readable, and verifiable by itself."""
    from qtinfra import bootstrap

    if out is None:
        for line in bootstrap.exported(journal):
            print(line)
        return
    if out.exists():
        raise _bad("--out", f"a new file is needed, and {out} exists")
    note(f"{bootstrap.export(journal, out)} records written to {out}")


# --- speed -------------------------------------------------------------------------------------------------


def _scale(value: str | float) -> float:
    """A factor on every size: above 0, at most 10."""
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 10:
        raise typer.BadParameter(f"{value!r} is not a number above 0 and at most 10")
    return factor


@app.command(short_help="Measure the order path, each part beside a control.")
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Which benchmarks (default: all).", show_default=False),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(help="Factor on every size; targets are judged from 1 on.", parser=_scale, metavar="X"),
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of tables.")] = False,
) -> None:
    """Measure the order path, each part in turns with a control on the same input."""
    from qtinfra.bench import BENCHES, run

    chosen = names or []
    for name in chosen:
        if name not in BENCHES and name != "all":
            raise _bad("NAME", f"no benchmark {name!r}; there are {', '.join(BENCHES)}")
    from qtinfra.cli.benches import bench_facts, show_bench

    results = run(chosen, scale=scale, progress=note)
    if as_json:
        print(json.dumps(bench_facts(results), ensure_ascii=False))
    else:
        show_bench(console(), results)


# --- shared ------------------------------------------------------------------------------------------------


def _bad(option: str, text: str) -> typer.BadParameter:
    return typer.BadParameter(text, param_hint=f"'{option}'")


def _refuse_existing(journal: Path, option: str) -> None:
    """A session begins a journal of its own: it never appends to another one's, or to its signed heads."""
    from qtinfra.bootstrap import Evidence

    files = Evidence.of(journal)
    for path in (files.journal, files.anchors):
        if path.exists():
            raise _bad(option, f"a new journal is needed, and {path} exists")
    if option == "--journal" and journal.name != "journal.sqlite" and not journal.absolute().parent.is_dir():
        raise _bad(option, f"there is no directory {journal.absolute().parent}")


def _say_recovered(recovered: str | None) -> None:
    if recovered is not None:
        note(recovered)


def _require(holds: bool, otherwise: str) -> None:
    """Leave with status 1 when what a command is there to show does not hold."""
    if not holds:
        note(otherwise)
        raise typer.Exit(1)


live.register(app)
serving.register(app)
tca.register(app)
