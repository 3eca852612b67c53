"""What earlier days say before an order begins: its size, its costs, when the day's volume comes.

Everything is computed from days before the one that is traded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp, fsum, log, sqrt
from statistics import median

import msgspec

from qtinfra.marketdata.bars import MINUTE_NS
from qtinfra.marketdata.estimators import DAY_MINUTES, realised_variance, roll_spread_bps
from qtinfra.marketdata.kalman import State, VolumeModel, filter_days, fit
from qtinfra.marketdata.volume import DynamicCurve, log_volumes, normalised, static_profile, stretched
from qtinfra.runtime.lab.days import LabDay, Past

#: Days that volume, volatility and spread are taken from.
FACT_DAYS = 20
#: Prices for the volatility are this far apart: closer ones measure the bounce between bid and offer.
SAMPLE_MINUTES = 15
#: Volume in one bin that counts at most, in multiples of the bin's median over the look-back.
CAPPED_AT = 4.0
#: EM iterations of the state-space model.
FIT_ITERATIONS = 60
CURVES = ("static", "capped", "median", "log-mean", "kalman", "flat")
#: Days of the intraday profile of the variance, and the width of its bins.
PROFILE_DAYS, PROFILE_MINUTES = 60, 5
#: Added to a bin's share, in parts of an even one, where logarithms are taken: bins without trades have none.
LOG_FLOOR = 0.1


class Params(msgspec.Struct, frozen=True):
    """What is chosen on earlier dates than those reported.

    Attributes:
        curve: one of `CURVES`: the mean of the days' shares; the same with single busy bins cut; their
            median; their mean in logarithms; the state-space model, updated through the day; even.
        bin_minutes: width of the curve's bins.
        lookback: days of the curve, and that the state-space model is fitted on.
        slice_minutes: length of a schedule's intervals.
        clip_share: most of the order in one slice, as a fraction of it; 0 for no bound.
        steered: of VWAP: the volume printed moves the order along its plan (`core.strategies.steering`).

    Raises:
        ValueError: an unknown curve, or a number that is not in its range.
    """

    curve: str = "static"
    bin_minutes: int = 15
    lookback: int = 20
    slice_minutes: int = 5
    clip_share: float = 0.0
    steered: bool = True

    def __post_init__(self) -> None:
        if self.curve not in CURVES:
            raise ValueError(f"curve: one of {', '.join(CURVES)}, not {self.curve!r}")
        for name in ("bin_minutes", "lookback", "slice_minutes"):
            if not 1 <= getattr(self, name) <= DAY_MINUTES:
                raise ValueError(f"{name}: from 1 to {DAY_MINUTES}, not {getattr(self, name)}")
        if not 0 <= self.clip_share <= 1:
            raise ValueError(f"clip_share: from 0 to 1, not {self.clip_share}")


class DayFacts(msgspec.Struct, frozen=True):
    """What is known before the open.

    Attributes:
        days: how many earlier days it rests on.
        daily_volume: shares, mean. volatility: of a full session, fraction. spread_bps: of the price.
        curve: shares of the day's volume per bin, summing to 1.
        variance: shares of the day's variance per bin of `PROFILE_MINUTES`, summing to 1.
        model, state: of the state-space model where the curve moves with the day.
    """

    days: int
    daily_volume: float
    volatility: float
    spread_bps: float
    curve: tuple[float, ...]
    variance: tuple[float, ...]
    model: VolumeModel | None = None
    state: State | None = None


class History:
    """The days of one symbol, oldest first, and what the earlier ones say about each."""

    def __init__(self, days: Sequence[LabDay]) -> None:
        self.days = tuple(days)
        self._variance = lru_cache(maxsize=1024)(self._day_variance)
        self._roll = lru_cache(maxsize=1024)(self._day_roll)
        self._profile = lru_cache(maxsize=1024)(self._day_profile)
        self._binned = lru_cache(maxsize=4096)(self._day_binned)
        self._fits: dict[tuple[int, int, int], VolumeModel] = {}

    def facts(self, place: int, params: Params, fit_to: int | None = None) -> DayFacts:
        """What the days before number `place` say about it.

        Args:
            fit_to: the state-space model is fitted on days before this number; default and at most `place`.

        Raises:
            ValueError: there is no earlier day.
        """
        before = range(max(0, place - FACT_DAYS), place)
        if not before:
            raise ValueError(f"{self.days[place].trade_date}: no earlier day of {self.days[place].symbol}")
        whole = [self.days[at] for at in before if not self.days[at].half_day]
        volumes = [day.volume for day in whole] or [self.days[at].volume for at in before]
        spreads = [value for at in before if (value := self._roll(at)) is not None]
        price = self.days[place - 1].lasts[-1]
        least = 100 / price  # one cent
        facts = DayFacts(
            len(before),
            fsum(volumes) / len(volumes),
            sqrt(fsum(self._variance(at) for at in before) / len(before)),
            max(median(spreads) if spreads else 0.0, least),
            self._curve(place, params),
            self._variance_profile(place),
        )
        return self._with_model(facts, place, params, min(place, place if fit_to is None else fit_to))

    def _curve(self, place: int, params: Params) -> tuple[float, ...]:
        day = self.days[place]
        bins = -((day.open_ns - day.close_ns) // (params.bin_minutes * MINUTE_NS))
        rows = self._rows(place, params.bin_minutes, params.lookback)
        if params.curve == "flat" or not rows:
            return even(bins)
        if params.curve == "capped":
            rows = _capped(rows) or rows
        curve = CENTRES.get(params.curve, _mean)(rows)
        return curve if len(curve) == bins else stretched(curve, bins)

    def _rows(self, place: int, minutes: int, lookback: int) -> list[list[float]]:
        """Volumes of the last full days before number `place`."""
        full = self._full(place, lookback)
        return [self._binned(at, minutes) for at in full]

    def _full(self, place: int, lookback: int) -> list[int]:
        """The last full days before number `place`."""
        return [at for at in range(max(0, place - 2 * lookback), place) if not self.days[at].half_day][
            -lookback:
        ]

    def _day_binned(self, place: int, minutes: int) -> list[float]:
        return [float(value) for value in self.days[place].binned(minutes)]

    def _variance_profile(self, place: int) -> tuple[float, ...]:
        """When the variance of the days before number `place` came: the mean of their shares."""
        day = self.days[place]
        bins = -((day.open_ns - day.close_ns) // (PROFILE_MINUTES * MINUTE_NS))
        rows = [row for at in self._full(place, PROFILE_DAYS) if (row := self._profile(at)) is not None]
        if not rows:
            return even(bins)
        curve = static_profile(rows, len(rows))
        return curve if len(curve) == bins else stretched(curve, bins)

    def _with_model(self, facts: DayFacts, place: int, params: Params, fit_to: int) -> DayFacts:
        """With the model's curve, where the curve is the model's and the day is a full one."""
        if params.curve != "kalman" or self.days[place].half_day:
            return facts
        model = self._fitted(fit_to, params)
        if model is None:
            return facts
        rows = self._rows(place, params.bin_minutes, params.lookback)
        state = filter_days(model, [log_volumes(row) for row in rows])
        curve = DynamicCurve(model, state).curve()
        return msgspec.structs.replace(facts, curve=curve, model=model, state=state)

    def _fitted(self, fit_to: int, params: Params) -> VolumeModel | None:
        """The model fitted on days before number `fit_to`; None where they are too few for every bin."""
        key = (fit_to, params.bin_minutes, params.lookback)
        if key not in self._fits:
            rows = self._rows(fit_to, params.bin_minutes, params.lookback)
            if len(rows) < 2 or not all(any(column) for column in zip(*rows, strict=True)):
                return None
            self._fits[key] = fit([log_volumes(row) for row in rows], max_iterations=FIT_ITERATIONS).model
        return self._fits[key]

    def _day_variance(self, place: int) -> float:
        """Variance of a full session's length from prices 15 minutes apart."""
        day = self.days[place]
        moments = range(day.open_ns + MINUTE_NS, day.close_ns + 1, SAMPLE_MINUTES * MINUTE_NS)
        prices = [last for moment in moments if (last := Past(day, moment).last) is not None]
        if len(prices) < 2:
            return 0.0
        return realised_variance(prices) / (len(prices) - 1) * DAY_MINUTES / SAMPLE_MINUTES

    def _day_profile(self, place: int) -> tuple[float, ...] | None:
        """Shares of the day's squared returns: over 5 and 10 minutes after the open, then over 15."""
        day = self.days[place]
        last = (day.close_ns - day.open_ns) // MINUTE_NS
        ends = [1, PROFILE_MINUTES, *range(SAMPLE_MINUTES, last + 1, SAMPLE_MINUTES)]
        prices = [Past(day, day.open_ns + end * MINUTE_NS).last for end in ends]
        squares: list[float] = []
        for at in range(1, len(ends)):
            before, after = prices[at - 1], prices[at]
            bins = max(1, (ends[at] - ends[at - 1]) // PROFILE_MINUTES)
            squares += [log(after / before) ** 2 / bins if before and after else 0.0] * bins
        return normalised(squares) if any(squares) else None

    def _day_roll(self, place: int) -> float | None:
        day = self.days[place]
        if day.quotes is not None:
            return _quoted_bps(day)
        return roll_spread_bps(day.lasts) if len(day.lasts) >= 4 else None


def facts_of_morning(day: LabDay, start_ns: int) -> DayFacts:
    """What the day itself has shown by `start_ns`, for a day without earlier ones: the curve is even.

    Raises:
        ValueError: nothing has traded by then.
    """
    past = Past(day, start_ns)
    moments = range(day.open_ns + MINUTE_NS, start_ns + 1, MINUTE_NS)
    views = [Past(day, moment) for moment in moments]
    prices = [view.last for view in views if view.last is not None]
    seen = past.volume(day.open_ns)
    if not seen or len(prices) < 2:
        raise ValueError(f"{day.symbol} {day.trade_date}: no earlier day, and too little before the start")
    spreads = [20_000 * (q.ask - q.bid) / (q.ask + q.bid) for view in views if (q := view.quote) is not None]
    bins = -((day.open_ns - day.close_ns) // (SAMPLE_MINUTES * MINUTE_NS))
    return DayFacts(
        0,
        seen * (day.close_ns - day.open_ns) / (start_ns - day.open_ns),
        sqrt(realised_variance(prices) / (len(prices) - 1) * DAY_MINUTES),
        median(spreads) if spreads else 100 / prices[-1],
        even(bins),
        even(bins),
    )


def even(bins: int) -> tuple[float, ...]:
    """Equal shares that sum to 1."""
    return (1 / bins,) * bins


def _quoted_bps(day: LabDay) -> float | None:
    """Median of the quoted spread at each minute of the day, basis points."""
    quotes = day.quotes
    found = [quotes.at(moment) for moment in range(day.open_ns, day.close_ns, MINUTE_NS)] if quotes else []
    spreads = [20_000 * (quote.ask - quote.bid) / (quote.ask + quote.bid) for quote in found if quote]
    return median(spreads) if spreads else None


def _capped(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Rows in which no bin's share of its day is above `CAPPED_AT` times its median over the days."""
    shares = _shares(rows)
    bounds = [CAPPED_AT * median(column) for column in zip(*shares, strict=True)]
    return [
        [min(share, bound) if bound else share for share, bound in zip(row, bounds, strict=True)]
        for row in shares
    ]


def _mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return static_profile(rows, len(rows))


def _shares(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Each bin's share of its day, days without volume left out."""
    return [[value / total for value in row] for row in rows if (total := fsum(row)) > 0]


def _median(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The median of each bin's shares; their mean where most bins are empty on most days."""
    found = [median(column) for column in zip(*_shares(rows), strict=True)]
    return normalised(found) if any(found) else _mean(rows)


def _log_mean(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The mean of the shares' logarithms, `LOG_FLOOR` of an even share added to each."""
    columns = list(zip(*_shares(rows), strict=True))
    floor = LOG_FLOOR / len(columns)
    means = [fsum(log(share + floor) for share in column) / len(column) for column in columns]
    return normalised([max(0.0, exp(value) - floor) for value in means])


#: How the days' shares become one curve, where it is not their mean.
CENTRES = {"median": _median, "log-mean": _log_mean}
