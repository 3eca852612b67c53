"""The commands that talk to a running server, through the client like any other program.

What they need is imported when they run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, cast

import typer

from qtinfra.cli.output import WIDEST, console, print_json, program

if TYPE_CHECKING:
    from qtinfra.cli.live_tables import Picture
    from qtinfra.client import Client, Stream
    from qtinfra.client.terms import SpecialTerms, Terms
    from qtinfra.infra.config import Settings

DEFAULT_URL = "http://127.0.0.1:8000"
_SHOWN_ORDERS, _PAGE = 20, 200

orders_app = typer.Typer(
    rich_markup_mode=None, help="Orders on a running server: list, show, submit, replace, cancel."
)

token_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
_UTC = "%Y-%m-%dT%H:%M:%SZ"

Url = Annotated[str, typer.Option(envvar="QTINFRA_URL", metavar="URL", help="Base address of the server.")]
Token = Annotated[
    str,
    typer.Option(
        envvar="QTINFRA_TOKEN",
        metavar="TOKEN",
        help="Bearer token; better given in the environment, where other users do not see it.",
        show_default=False,
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Account = Annotated[str, typer.Option(metavar="ID", help="Only this account.", show_default=False)]
Symbol = Annotated[str, typer.Option(metavar="SYMBOL", help="Only this instrument.", show_default=False)]
OrderId = Annotated[str, typer.Argument(metavar="ID", help="The server's id of the order.")]


def _term(what: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(metavar=what, help=text, show_default=False)
    return found


Stop = Annotated[str, _term("PRICE", "STOP, STOP_LIMIT: trigger per unit.")]
Trail = Annotated[str, _term("AMOUNT", "TRAILING_STOP: distance in price units.")]
Display = Annotated[str, _term("QUANTITY", "ICEBERG: shown at a time.")]
Expires = Annotated[str, _term("TIME", "GTD: end, such as 2026-07-08T20:00:00Z.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(orders_app, name="orders")
    app.command()(positions)
    app.command(short_help="Watch orders and positions as they change.")(watch)
    app.add_typer(
        token_app, name="token", short_help="Print a token of the development login, or revoke a token."
    )


@contextmanager
def _talking(url: str, bearer: str) -> Iterator[Client]:
    """A client whose refusals say what a person at a terminal can do about them."""
    from qtinfra.client import ApiError, Client

    try:
        made = Client(url, bearer)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--url'") from error
    with made:
        try:
            yield made
        except ApiError as error:
            error.message = _with_advice(error, url)
            raise


def _with_advice(error: Exception, url: str) -> str:
    from qtinfra.client import ApiError, NotAuthenticatedError, TransportError

    if isinstance(error, TransportError):
        return f"{error.message} ({url}; '{program()} serve' starts a server)"
    if isinstance(error, NotAuthenticatedError):
        makes = f"'{program()} token --user trader' makes one for development"
        return f"{error.message} (give --token or QTINFRA_TOKEN; {makes})"
    if isinstance(error, ApiError) and len(error.errors) > 1:
        return "; ".join(found.message or f"{found.field}: {found.code}" for found in error.errors)
    return error.message if isinstance(error, ApiError) else str(error)


def _filters(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


# --- orders ------------------------------------------------------------------------------------------------


@orders_app.callback()
def _root() -> None:
    pass


@orders_app.command("list")
def list_orders(
    account: Account = "",
    symbol: Symbol = "",
    status: Annotated[str, typer.Option(metavar="STATUS", help="Only this status.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")] = 50,
    url: Url = DEFAULT_URL,
    token: Token = "",
    as_json: JsonFlag = False,
) -> None:
    """List orders, the newest first."""
    with _talking(url, token) as client:
        filters = _filters(account_id=account, symbol=symbol, status=status)
        found = list(islice(client.list(limit=min(limit, _PAGE), **filters), limit))
    if as_json:
        from qtinfra.cli.live_tables import facts

        print_json({"orders": [facts(order) for order in found]})
    else:
        from qtinfra.cli.live_tables import orders_table

        out = console(WIDEST)
        out.print(orders_table(out, found))


@orders_app.command()
def show(order_id: OrderId, url: Url = DEFAULT_URL, token: Token = "", as_json: JsonFlag = False) -> None:
    """Show one order: where it went and what it executed."""
    with _talking(url, token) as client:
        found = client.get(order_id)
    if as_json:
        from qtinfra.cli.live_tables import facts

        print_json(facts(found))
    else:
        from qtinfra.cli.live_tables import show_order

        show_order(console(WIDEST), found)


@orders_app.command()
def submit(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="The instrument.")],
    side: Annotated[str, typer.Argument(metavar="SIDE", help="BUY, SELL, SELL_SHORT or SELL_SHORT_EXEMPT.")],
    quantity: Annotated[str, typer.Argument(metavar="QUANTITY", help="Units, a multiple of the lot.")],
    price: Annotated[
        str, typer.Option(metavar="PRICE", help="Limit per unit; none: market order.", show_default=False)
    ] = "",
    order_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="LIMIT, MARKET, ...", show_default=False)
    ] = "",
    tif: Annotated[str, typer.Option(metavar="TIF", help="Time in force.")] = "DAY",
    account: Annotated[
        str, typer.Option(metavar="ID", help="Whose order; the token's only one.", show_default=False)
    ] = "",
    client_id: Annotated[
        str,
        typer.Option("--id", metavar="ID", help="Your id; a repeated one is one order.", show_default=False),
    ] = "",
    stop: Stop = "",
    trail: Trail = "",
    display: Display = "",
    peg: Annotated[str, _term("TYPE", "PEGGED: PRIMARY, MARKET or MIDPOINT.")] = "",
    peg_offset: Annotated[str, _term("AMOUNT", "PEGGED: better (above 0) or worse by.")] = "",
    expires: Expires = "",
    locate: Annotated[str, _term("ID", "Short sale: where the shares come from.")] = "",
    self_match: Annotated[str, _term("ID", "Orders of one id never trade with each other.")] = "",
    min_quantity: Annotated[str, _term("QUANTITY", "Least quantity of an execution.")] = "",
    routing_strategy: Annotated[
        str, _term("NAME", "How it is routed: SWEEP, PLACEMENT, DARK_FIRST, POST or an installed one.")
    ] = "",
    urgency: Annotated[str, _term("PART", "0 to 1: taking against posting, with a routing strategy.")] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    as_json: JsonFlag = False,
) -> None:
    """Send an order and show what the server answered."""
    terms = _filters(
        stop_price=stop,
        trail_amount=trail,
        display_quantity=display,
        peg=peg.upper(),
        peg_offset=peg_offset,
        expire_at=expires,
        locate_id=locate,
        self_match_id=self_match,
        routing_strategy=routing_strategy.upper(),
        urgency=urgency,
    )
    with _talking(url, token) as client:
        order = client.submit(
            symbol,
            side.upper(),
            quantity,
            price=price or None,
            order_type=order_type.upper() or None,
            time_in_force=tif.upper(),
            account_id=account or None,
            client_order_id=client_id or None,
            min_quantity=min_quantity or None,
            **cast("SpecialTerms", terms),
        )
    _answer(order, as_json)


@orders_app.command()
def replace(
    order_id: OrderId,
    quantity: Annotated[str, _term("QUANTITY", "Units in all, what has traded included.")] = "",
    price: Annotated[str, _term("PRICE", "Limit per unit.")] = "",
    stop: Stop = "",
    trail: Trail = "",
    display: Display = "",
    expires: Expires = "",
    client_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Your id of this change.", show_default=False)
    ] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    as_json: JsonFlag = False,
) -> None:
    """Change quantity, price or special terms of an order; what is not named stays."""
    terms = _filters(stop_price=stop, trail_amount=trail, display_quantity=display, expire_at=expires)
    if not (quantity or price or terms):
        raise typer.BadParameter("name what to change, such as --quantity or --price", param_hint="'replace'")
    with _talking(url, token) as client:
        order = client.replace(
            order_id,
            quantity=quantity or None,
            price=price or None,
            client_order_id=client_id or None,
            **cast("Terms", terms),
        )
    _answer(order, as_json)


@orders_app.command()
def cancel(order_id: OrderId, url: Url = DEFAULT_URL, token: Token = "", as_json: JsonFlag = False) -> None:
    """Cancel what is open of an order."""
    with _talking(url, token) as client:
        order = client.cancel(order_id)
    _answer(order, as_json)


def _answer(order: object, as_json: bool) -> None:
    from qtinfra.cli.live_tables import facts, orders_table
    from qtinfra.client import Order

    if as_json:
        print_json(facts(order))
    elif isinstance(order, Order):
        out = console(WIDEST)
        out.print(orders_table(out, [order]))


# --- positions and the live view ---------------------------------------------------------------------------


def positions(
    account: Account = "",
    symbol: Symbol = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    as_json: JsonFlag = False,
) -> None:
    """List positions with profit and loss."""
    with _talking(url, token) as client:
        found = list(client.positions(limit=_PAGE, **_filters(account_id=account, symbol=symbol)))
    if as_json:
        from qtinfra.cli.live_tables import facts

        print_json({"positions": [facts(position) for position in found]})
    else:
        from qtinfra.cli.live_tables import positions_table

        console().print(positions_table(found))


def watch(
    account: Account = "",
    symbol: Symbol = "",
    every: Annotated[float, typer.Option(min=0.1, max=60.0, help="Seconds between two looks.")] = 1.0,
    count: Annotated[int, typer.Option(min=0, help="Stop after so many looks; 0 goes on.")] = 0,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Watch the newest orders and the positions as they change, until interrupted.

    Follows the server's stream; asks again and again where there is none. While the server does not answer,
    the last picture stays with a note below. In a file or a pipe one picture follows another when it changes.
    """
    from rich.live import Live

    from qtinfra.cli.live_tables import picture_of

    out = console(WIDEST)
    with suppress(KeyboardInterrupt), _talking(url, token) as client:
        pictures = islice(_pictures(client, every, account, symbol), count or None)
        if not out.is_terminal:
            for picture in _changes(pictures):
                out.print(picture_of(out, picture))
            return
        with Live(console=out, auto_refresh=False) as live:
            for picture in pictures:
                live.update(picture_of(out, picture), refresh=True)


def _changes(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Those that differ from the one before: what is written to a file stays."""
    before = None
    for picture in pictures:
        if picture != before:
            yield picture
        before = picture


def _pictures(client: Client, every: float, account: str, symbol: str) -> Iterator[Picture]:
    """What there is, every so many seconds: told by the stream, or asked for."""
    from qtinfra.client import BadAnswerError, NotFoundError, RefusedError

    accounts, symbols = ([value] if value else [] for value in (account, symbol))
    stream = client.stream("orders", "positions", accounts=accounts, symbols=symbols)
    with stream:
        try:
            opened = stream.connect()
        except (BadAnswerError, NotFoundError, RefusedError):
            opened = False
        if opened:
            yield from _told(stream, every)
    yield from _asked(client, every, _filters(account_id=account, symbol=symbol))


def _told(stream: Stream, every: float) -> Iterator[Picture]:
    from qtinfra.cli.live_tables import Board, Picture
    from qtinfra.client import TransportError, UnavailableError

    board, picture = Board(_SHOWN_ORDERS), Picture()
    due = time.monotonic()
    while True:
        try:
            while not board.complete or time.monotonic() < due:
                wait = every if not board.complete else due - time.monotonic()
                news = stream.next(max(0.0, wait))
                if news is not None:
                    board.take(news)
            picture = board.picture()
        except (TransportError, UnavailableError) as error:
            picture = picture.with_note(error.message)
        due = time.monotonic() + every
        yield picture


def _asked(client: Client, every: float, filters: dict[str, str]) -> Iterator[Picture]:
    from qtinfra.cli.live_tables import Picture
    from qtinfra.client import TransportError, UnavailableError

    picture, first = Picture(), True
    while True:
        try:
            recent = list(islice(client.list(limit=_SHOWN_ORDERS, **filters), _SHOWN_ORDERS))
            picture = Picture(recent, list(client.positions(limit=_PAGE, **filters)))
        except (TransportError, UnavailableError) as error:
            if first:
                raise
            picture = picture.with_note(error.message)
        yield picture
        first = False
        time.sleep(every)


# --- tokens ------------------------------------------------------------------------------------------------


@token_app.callback()
def token(
    context: typer.Context,
    user: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="viewer, trader, pm, risk, compliance or admin.", show_default=False
        ),
    ] = "",
    life_s: Annotated[int, typer.Option("--life", min=1, max=86_400, help="Seconds it is valid.")] = 3600,
    as_json: JsonFlag = False,
) -> None:
    """Print a token of the development login, for curl and for QTINFRA_TOKEN; or revoke one.

    It is signed with the key in the data directory (QTINFRA_DATA_DIR), so a server on the same directory
    accepts it. Refused unless QTINFRA_ENVIRONMENT is development or test.
    """
    from qtinfra.infra.security.login import DevLogin

    if context.invoked_subcommand is not None:
        return
    if not user:
        raise typer.BadParameter("say for whom, such as trader", param_hint="'--user'")
    settings = _settings()
    made = DevLogin(settings.environment, settings.data_dir).token(user, time.time(), life_s)
    if as_json:
        print_json({"access_token": made, "token_type": "bearer", "expires_in": life_s})
    else:
        print(made)


@token_app.command(short_help="Have a running server refuse a token.")
def revoke(
    token_id: Annotated[
        str, typer.Option("--id", metavar="JTI", help="One token, by its jti.", show_default=False)
    ] = "",
    subject: Annotated[
        str, typer.Option(metavar="SUB", help="All that a subject has until now.", show_default=False)
    ] = "",
    expires: Annotated[
        datetime | None,
        typer.Option(
            formats=[_UTC], metavar="TIME", help="When the token ends anyway, UTC.", show_default=False
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with it.", show_default=False)] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    as_json: JsonFlag = False,
) -> None:
    """Have a running server refuse a token, or all of a subject, from the next request on. Takes ADMIN."""
    if bool(token_id) == bool(subject):
        raise typer.BadParameter("give one of them", param_hint="'--id' or '--subject'")
    ends = expires.replace(tzinfo=UTC) if expires is not None else None
    with _talking(url, token) as client:
        made = client.revoke(token_id=token_id, subject=subject, expires_at=ends, reason=reason)
    if as_json:
        from qtinfra.cli.live_tables import facts

        print_json(facts(made))
    elif made.subject is not None:
        print(f"refused: tokens of {made.subject} issued before {made.issued_before:%Y-%m-%dT%H:%M:%SZ}")
    else:
        print(f"refused: token {made.token_id}, until it ends")


def _settings() -> Settings:
    """The server's settings as the environment gives them; what is wrong is named without its value."""
    from pydantic import ValidationError

    from qtinfra.infra.config import Settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"QTINFRA_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()]
        raise typer.BadParameter("; ".join(wrong), param_hint="the environment") from error
