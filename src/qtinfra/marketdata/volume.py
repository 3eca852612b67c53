"""Intraday volume curves: what share of a day trades when, from history and updated through the day.

A curve is a tuple of shares of the day's volume, one per bin, that sum to 1. Volumes are per bin in shares;
None or 0 is a bin without volume.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise
from math import fsum, isfinite, log
from pathlib import Path

import msgspec

from qtinfra.marketdata.kalman import State, VolumeModel, advance, forecast_day, update
from qtinfra.marketdata.lobster import RecordedDataError
from qtinfra.marketdata.nbbo import NbboTrade

#: Days of the static profile.
PROFILE_DAYS = 20

#: Condition flags of prints that are no volume a working order could have traded with: negotiated blocks
#: (sold distribution), opening, closing and reopening crosses, crossing sessions, official open and close.
BLOCK = 0x80000
CROSSES = 0x40 | 0x80 | 0x100 | 0x200000 | 0x1000000 | 0x4000000

Volumes = Sequence[float | None]


class VolumeTable(msgspec.Struct, frozen=True):
    """Recorded volume per bin: names of the bins, dates, one row of volumes per date (None: missing)."""

    bins: tuple[str, ...]
    dates: tuple[date, ...]
    days: tuple[tuple[float | None, ...], ...]


# -- reading ---------------------------------------------------------------------------------------


def read_volume_table(path: str | Path) -> VolumeTable:
    """Read a table with a column per day and a row per bin: a header of ISO dates, then time and volumes.

    Raises:
        RecordedDataError: a cell breaks the format, dates or times do not ascend, or there are no rows;
            file, line and column are named.
        OSError: the file cannot be read.
    """
    name = Path(path).name
    try:
        with open(path, encoding="ascii", newline="") as file:
            header, *rows = list(csv.reader(file))
    except (ValueError, csv.Error) as error:
        raise RecordedDataError(f"{name}: not a table: {error}", context={"file": name}) from error
    dates = tuple(_date(name, column, text) for column, text in enumerate(header[1:], 2))
    if not dates or not rows or header[0]:
        raise _bad_cell(name, 1, 1, header[0] if header else "")
    columns: list[list[float | None]] = [[] for _ in dates]
    bins: list[str] = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(header) or (bins and row[0] <= bins[-1]):
            raise _bad_cell(name, number, 1, ",".join(row)[:40])
        bins.append(row[0])
        for column, text in enumerate(row[1:]):
            columns[column].append(_volume(name, number, column + 2, text))
    if any(later <= earlier for earlier, later in pairwise(dates)):
        raise _bad_cell(name, 1, 2, "dates that do not ascend")
    return VolumeTable(tuple(bins), dates, tuple(map(tuple, columns)))


def _date(name: str, column: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _bad_cell(name, 1, column, text) from error


def _volume(name: str, line: int, column: int, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise _bad_cell(name, line, column, text) from error
    if not isfinite(value) or value < 0:
        raise _bad_cell(name, line, column, text)
    return value


def _bad_cell(name: str, line: int, column: int, text: str) -> RecordedDataError:
    return RecordedDataError(
        f"{name}:{line}: column {column}: bad value {text[:40]!a}",
        context={"file": name, "line": line, "field": column},
    )


# -- what counts as volume -------------------------------------------------------------------------


def is_continuous(trade: NbboTrade) -> bool:
    """Whether a print is volume of continuous trading: neither suspicious, nor a block, nor a cross."""
    return not trade.suspicious and not trade.conditions & (BLOCK | CROSSES)


def binned_volume(
    trades: Iterable[NbboTrade], start_ns: int, end_ns: int, bin_ns: int, continuous_only: bool = True
) -> list[int]:
    """Shares per bin from `start_ns` up to, not including, `end_ns` (UTC nanoseconds).

    Args:
        bin_ns: width of a bin; the last is shorter when it does not divide the time.
        continuous_only: leave out what `is_continuous` says is none; suspicious prints never count.
    """
    if bin_ns <= 0 or end_ns <= start_ns:
        raise ValueError(f"bins of {bin_ns} ns from {start_ns} to {end_ns}")
    bins = [0] * -((start_ns - end_ns) // bin_ns)
    for trade in trades:
        counts = is_continuous(trade) if continuous_only else not trade.suspicious
        if counts and start_ns <= trade.ts_ns < end_ns:
            bins[(trade.ts_ns - start_ns) // bin_ns] += trade.size
    return bins


# -- static curves ---------------------------------------------------------------------------------


def static_profile(days: Sequence[Volumes], window: int = PROFILE_DAYS) -> tuple[float, ...]:
    """The curve of the last days: the mean over days of each bin's share of its day.

    A mean of shares and not of volumes, so that one busy day does not outweigh the others; days without any
    volume are passed over, a missing bin is one without volume.

    Args:
        days: volumes per bin, oldest first; the last `window` of them count.

    Raises:
        ValueError: no day with volume, or days of different length.
    """
    recent = [[value or 0.0 for value in day] for day in days[-window:]] if window > 0 else []
    recent = [day for day in recent if fsum(day) > 0]
    if not recent or len({len(day) for day in recent}) != 1:
        raise ValueError(f"days: at least one with volume among the last {window}, all of the same length")
    totals = [fsum(day) for day in recent]
    return normalised(
        [fsum(v / t for v, t in zip(column, totals, strict=True)) for column in zip(*recent, strict=True)]
    )


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights scaled to sum to 1.

    Raises:
        ValueError: one is below 0 or not finite, or all are 0.
    """
    total = fsum(weights)
    if not isfinite(total) or total <= 0 or min(weights) < 0:
        raise ValueError("weights: finite, at least 0, and one above 0")
    return tuple(weight / total for weight in weights)


def stretched(curve: Sequence[float], bins: int) -> tuple[float, ...]:
    """A curve for a session of another number of bins, such as a half day: the same course in less time.

    The cumulative curve is read at equal fractions of the session, straight between its bins.

    Raises:
        ValueError: no bins.
    """
    if bins < 1 or not curve:
        raise ValueError(f"bins: at least 1, not {bins}")
    return normalised(
        [_between(curve, place * len(curve) / bins, (place + 1) * len(curve) / bins) for place in range(bins)]
    )


def _between(curve: Sequence[float], start: float, end: float) -> float:
    return fsum(
        volume * max(0.0, min(end, place + 1) - max(start, place)) for place, volume in enumerate(curve)
    )


def with_close(curve: Sequence[float], auction_share: float) -> tuple[float, ...]:
    """The curve with the closing auction as one more bin.

    Args:
        auction_share: of the day's volume, from 0 up to, not including, 1.
    """
    if not 0 <= auction_share < 1:
        raise ValueError(f"auction_share: at least 0 and below 1, not {auction_share}")
    return (*(share * (1 - auction_share) for share in normalised(curve)), auction_share)


# -- logarithms for the state-space model ----------------------------------------------------------


def log_volumes(volumes: Volumes) -> list[float | None]:
    """Natural logarithms; None for bins without volume, which the model treats as missing."""
    return [log(volume) if volume else None for volume in volumes]


def rolling_log_mean(
    days: Sequence[Sequence[float | None]], window: int = PROFILE_DAYS
) -> list[float | None]:
    """The mean log volume of each bin over the last days: the benchmark of a static profile.

    None for a bin that was missing on all of them.
    """
    columns = (
        [value for value in column if value is not None] for column in zip(*days[-window:], strict=True)
    )
    return [fsum(column) / len(column) if column else None for column in columns]


# -- the curve of the day --------------------------------------------------------------------------


class DynamicCurve:
    """The curve of one day, forecast before the open and updated with every bin that has printed.

    A forecast reads only the bins that were observed before it.
    """

    def __init__(self, model: VolumeModel, state: State) -> None:
        """`state` is as `kalman.filter_days` left it after the day before."""
        self._model, self._before, self._state = model, state, state
        self._seen: list[float] = []

    @property
    def seen(self) -> tuple[float, ...]:
        """Volume of the bins that were observed."""
        return tuple(self._seen)

    @property
    def state(self) -> State:
        """The state after the last bin observed: where the next day starts when all are."""
        return self._state

    def observe(self, volume: float) -> None:
        """Take the volume of the next bin, which has ended; 0 when nothing traded.

        Raises:
            ValueError: it is below 0 or not finite, or the day has no more bins.
        """
        place = len(self._seen)
        if not isfinite(volume) or volume < 0 or place == len(self._model.phi):
            raise ValueError(f"bin {place} of {len(self._model.phi)}: no volume {volume}")
        ahead = advance(self._model, self._state, place == 0)
        self._state = update(self._model, ahead, self._model.phi[place], log(volume) if volume else None)
        self._seen.append(volume)

    def expected(self) -> tuple[float, ...]:
        """Expected volume in shares of each bin still to come."""
        return tuple(forecast_day(self._model, self._before, log_volumes(self._seen)))

    def curve(self) -> tuple[float, ...]:
        """Shares of the whole day: what has printed, then what is expected."""
        return normalised([*self._seen, *self.expected()])

    def rest(self) -> tuple[float, ...]:
        """The curve of the bins still to come, summing to 1; empty after the last."""
        expected = self.expected()
        return normalised(expected) if expected else ()
