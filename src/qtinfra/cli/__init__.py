"""The command line: what a person types, and how it ends.

Results go to standard output, everything else to standard error. With `--json` standard output holds exactly
one JSON object, an error included. Exit status: 0 done, 1 it failed or a check did not hold, 2 wrong input,
78 a journal does not verify, 130 interrupted (not `serve` and `watch`: that is how they end).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from qtinfra.cli.commands import app
from qtinfra.cli.output import note, print_json, program
from qtinfra.core.exceptions import JournalCorruptError, QtInfraError
from qtinfra.infra.heap import prepare_heap

FAILED, WRONG_INPUT, CORRUPT, INTERRUPTED = 1, 2, 78, 130

_WRONG_INPUT_CODES = ("recorded_data", "security_error", "not_a_journal", "unknown_calendar")
_CORRUPT_CODES = ("anchor_unreadable",)

#: click's base of all complaints about what was typed; typer brings its own click and exports only a part.
_ClickException = next(
    kind
    for kind in typer.BadParameter.__mro__
    if issubclass(kind, Exception) and kind.__name__ == "ClickException"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. Never raises for anything a user can cause.

    Args:
        argv: what was typed; None for that of this process, whose garbage collector is set for long runs.
    """
    if argv is None:
        prepare_heap()
    args = list(sys.argv[1:] if argv is None else argv)
    status: int
    try:
        done = app(args=args, prog_name="qtinfra", standalone_mode=False)
        sys.stdout.flush()
        status = done if isinstance(done, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except QtInfraError as error:
        return _complain(args, _in_words(error), _status(error), error.to_json())
    except OSError as error:
        return _complain(args, _said(error), FAILED, {"error": type(error).__name__, "code": "os_error"})
    except _ClickException as error:
        return _complain(
            args, _what_was_wrong(args, error), WRONG_INPUT, {"error": "UsageError", "code": "usage"}
        )
    if status == INTERRUPTED:
        note("interrupted")
    return status


def _what_was_wrong(args: Sequence[str], error: Exception) -> str:
    """click's complaint as one line: option, rule and value."""
    if not args or args == ["journal"]:
        return f"no command given; '{' '.join([program(), *args])} --help' lists them"
    text: str = getattr(error, "format_message", error.__str__)()
    return " ".join(text.split()).replace("Value error, ", "")


def _in_words(error: QtInfraError) -> str:
    """The message; damage always names the first sequence that does not verify."""
    if isinstance(error, JournalCorruptError) and "sequence" not in error.message:
        return f"{error.message} (first bad sequence: {error.first_bad_seq})"
    return error.message


def _said(error: OSError) -> str:
    """The operating system's words and the file they are about, without its number for them."""
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"


def _status(error: QtInfraError) -> int:
    if isinstance(error, JournalCorruptError) or error.error_code in _CORRUPT_CODES:
        return CORRUPT
    return WRONG_INPUT if error.error_code in _WRONG_INPUT_CODES else FAILED


def _complain(args: Sequence[str], text: str, status: int, facts: dict[str, object]) -> int:
    note(text)
    if "--json" in args:
        print_json({**facts, "message": text})
    return status


def _reader_left() -> int:
    """Whoever read our output has closed it: say nothing more, not even while Python shuts down."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
