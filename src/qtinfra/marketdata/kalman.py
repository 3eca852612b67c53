"""The state-space model of intraday volume: Kalman filter, smoother, forecasts, and its fit by EM.

The log volume of bin i on day t is `y = eta_t + phi_i + mu + v`: a daily level that jumps at the day's
start, the seasonal profile of the bins, a component that fades within hours, and noise:

    eta_t+1 = a_eta eta_t + N(0, var_eta)        once a day, before its first bin
    mu_next = a_mu mu + N(0, var_mu)             at every bin
    v ~ N(0, r)

Bins without volume are missing: the state is predicted over them, not updated. All is plain Python: the
state has two components, and the base install has no numpy.

Source: R. Chen, Y. Feng, D. Palomar, "Forecasting intraday trading volume: a Kalman filter approach" (2016),
SSRN 3101695, eqs. 4 to 9, algorithms 1 to 3. Published fits: the R package intradayModel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, fsum, isfinite, log, pi

import msgspec

#: Log volume per bin of one day; None where it is missing.
LogDay = Sequence[float | None]


class VolumeModel(msgspec.Struct, frozen=True):
    """Parameters of the model.

    Attributes:
        phi: seasonal component of each bin, log units.
        r: variance of the noise.
        a_eta, a_mu: how much of the daily and of the intraday component is kept.
        var_eta, var_mu: variances of their innovations.
        x0: mean of (eta, mu) at the first bin.
        v0: its covariance: var(eta), cov(eta, mu), var(mu).
    """

    phi: tuple[float, ...]
    r: float
    a_eta: float
    a_mu: float
    var_eta: float
    var_mu: float
    x0: tuple[float, float]
    v0: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not self.phi:
            raise ValueError("phi: a value for each bin, there is none")
        for name in ("r", "var_eta", "var_mu"):
            value = getattr(self, name)
            if not isfinite(value) or value < 0 or (name == "r" and not value):
                raise ValueError(f"{name}: a finite variance, not {value}")


class State(msgspec.Struct, frozen=True):
    """Mean (eta, mu) and covariance (eta eta, eta mu, mu mu) of the two components."""

    eta: float
    mu: float
    ee: float
    em: float
    mm: float


class Smoothed(msgspec.Struct, frozen=True):
    """Smoothed states of every bin, the covariances of each with the one before, and the log likelihood.

    Attributes:
        lagged: for bin n the covariances of eta_n with eta_n-1 and of mu_n with mu_n-1; zeros for the first.
    """

    states: list[State]
    lagged: list[tuple[float, float]]
    log_likelihood: float


class Fit(msgspec.Struct, frozen=True):
    """A fitted model: EM iterations it took, last log likelihood, whether it settled within the bound."""

    model: VolumeModel
    iterations: int
    log_likelihood: float
    converged: bool


# -- filter ----------------------------------------------------------------------------------------


def start_state(model: VolumeModel) -> State:
    """What is believed before the first bin."""
    return State(*model.x0, *model.v0)


def advance(model: VolumeModel, state: State, new_day: bool) -> State:
    """The state at the next bin; the daily component moves only into a new day."""
    a_eta, extra = (model.a_eta, model.var_eta) if new_day else (1.0, 0.0)
    a_mu = model.a_mu
    return State(
        a_eta * state.eta,
        a_mu * state.mu,
        a_eta * a_eta * state.ee + extra,
        a_eta * a_mu * state.em,
        a_mu * a_mu * state.mm + model.var_mu,
    )


def update(model: VolumeModel, state: State, seasonal: float, observed: float | None) -> State:
    """The state after the bin's log volume is known; unchanged when it is missing."""
    if observed is None:
        return state
    gain_eta, gain_mu = state.ee + state.em, state.em + state.mm
    spread = gain_eta + gain_mu + model.r
    surprise = (observed - state.eta - state.mu - seasonal) / spread
    return State(
        state.eta + gain_eta * surprise,
        state.mu + gain_mu * surprise,
        state.ee - gain_eta * gain_eta / spread,
        state.em - gain_eta * gain_mu / spread,
        state.mm - gain_mu * gain_mu / spread,
    )


def one_step_forecasts(model: VolumeModel, days: Sequence[LogDay]) -> list[list[float]]:
    """The forecast of each bin's log volume from all bins before it.

    Args:
        days: log volumes, one list per day with a value or None for each bin.

    Returns:
        Forecasts in the same shape.

    Raises:
        ValueError: a day has another number of bins than the model.
    """
    _check_bins(model, days)
    state, forecasts, first = start_state(model), [], True
    for day in days:
        row = []
        for place, observed in enumerate(day):
            if not first:
                state = advance(model, state, place == 0)
            first = False
            row.append(state.eta + state.mu + model.phi[place])
            state = update(model, state, model.phi[place], observed)
        forecasts.append(row)
    return forecasts


def filter_days(model: VolumeModel, days: Sequence[LogDay]) -> State:
    """The state after the last bin of the days; `start_state` of the model without days."""
    _check_bins(model, days)
    state, first = start_state(model), True
    for day in days:
        for place, observed in enumerate(day):
            if not first:
                state = advance(model, state, place == 0)
            first = False
            state = update(model, state, model.phi[place], observed)
    return state


def forecast_day(model: VolumeModel, state: State, seen: LogDay = (), in_shares: bool = True) -> list[float]:
    """The curve of a day: a forecast for each bin that is still to come.

    Args:
        state: as `filter_days` left it after the last bin of the day before.
        seen: log volume of the day's bins so far; None where missing.
        in_shares: expected volume `exp(m + s^2 / 2)` in shares; else the mean `m` of its logarithm.

    Raises:
        ValueError: more bins were seen than a day has.
    """
    if len(seen) > len(model.phi):
        raise ValueError(f"seen: at most {len(model.phi)} bins, not {len(seen)}")
    curve = []
    for place, seasonal in enumerate(model.phi):
        state = advance(model, state, place == 0)
        if place < len(seen):
            state = update(model, state, seasonal, seen[place])
            continue
        mean, variance = state.eta + state.mu + seasonal, state.ee + 2 * state.em + state.mm + model.r
        curve.append(exp(mean + variance / 2) if in_shares else mean)
    return curve


# -- smoother --------------------------------------------------------------------------------------


def smooth(model: VolumeModel, days: Sequence[LogDay]) -> Smoothed:
    """Rauch-Tung-Striebel smoother over all bins.

    Raises:
        ValueError: a day has another number of bins than the model.
    """
    _check_bins(model, days)
    predicted, filtered, likelihood = _forward(model, days)
    states, lagged = [filtered[-1]], []
    bins = len(model.phi)
    for place in range(len(filtered) - 2, -1, -1):
        a_eta = model.a_eta if (place + 1) % bins == 0 else 1.0
        state, lag = _backward(filtered[place], predicted[place + 1], states[-1], a_eta, model.a_mu)
        states.append(state)
        lagged.append(lag)
    states.reverse()
    return Smoothed(states, [(0.0, 0.0), *reversed(lagged)], likelihood)


def _forward(model: VolumeModel, days: Sequence[LogDay]) -> tuple[list[State], list[State], float]:
    predicted: list[State] = []
    filtered: list[State] = []
    terms: list[float] = []
    state = start_state(model)
    for day in days:
        for place, observed in enumerate(day):
            if filtered:
                state = advance(model, state, place == 0)
            predicted.append(state)
            if observed is not None:
                spread = state.ee + 2 * state.em + state.mm + model.r
                surprise = observed - state.eta - state.mu - model.phi[place]
                terms.append(log(2 * pi * spread) + surprise * surprise / spread)
            state = update(model, state, model.phi[place], observed)
            filtered.append(state)
    return predicted, filtered, -fsum(terms) / 2


def _backward(
    known: State, ahead: State, later: State, a_eta: float, a_mu: float
) -> tuple[State, tuple[float, float]]:
    """Smoothed state of a bin, and the covariances of the later components with its own.

    `L = P A' (P_ahead)^-1`, `x = x + L (later - ahead)`, `P = P + L (P_later - P_ahead) L'`,
    `cov(later, x) = P_later L'`.
    """
    det = ahead.ee * ahead.mm - ahead.em * ahead.em
    if det <= 0:
        return known, (0.0, 0.0)
    ia, ib, ic = ahead.mm / det, -ahead.em / det, ahead.ee / det
    pa, pb, pc, pd = known.ee * a_eta, known.em * a_mu, known.em * a_eta, known.mm * a_mu
    l11, l12 = pa * ia + pb * ib, pa * ib + pb * ic
    l21, l22 = pc * ia + pd * ib, pc * ib + pd * ic
    d_eta, d_mu = later.eta - ahead.eta, later.mu - ahead.mu
    dee, dem, dmm = later.ee - ahead.ee, later.em - ahead.em, later.mm - ahead.mm
    state = State(
        known.eta + l11 * d_eta + l12 * d_mu,
        known.mu + l21 * d_eta + l22 * d_mu,
        known.ee + l11 * l11 * dee + 2 * l11 * l12 * dem + l12 * l12 * dmm,
        known.em + l11 * l21 * dee + (l11 * l22 + l12 * l21) * dem + l12 * l22 * dmm,
        known.mm + l21 * l21 * dee + 2 * l21 * l22 * dem + l22 * l22 * dmm,
    )
    return state, (later.ee * l11 + later.em * l12, later.em * l21 + later.mm * l22)


# -- EM --------------------------------------------------------------------------------------------


def first_guess(days: Sequence[LogDay]) -> VolumeModel:
    """Where EM starts: the profile of the bins' means, persistent components, variances from the data.

    Raises:
        ValueError: fewer than two days, or a bin that is missing on every day.
    """
    if len(days) < 2:
        raise ValueError(f"days: at least 2, not {len(days)}")
    columns = list(zip(*days, strict=True))
    means = []
    for place, column in enumerate(columns):
        known = [value for value in column if value is not None]
        if not known:
            raise ValueError(f"bin {place}: no volume on any day")
        means.append(fsum(known) / len(known))
    level = fsum(means) / len(means)
    phi = tuple(mean - level for mean in means)
    rest = [value - mean for day in days for value, mean in zip(day, means, strict=True) if value is not None]
    variance = max(fsum(value * value for value in rest) / len(rest), 1e-6)
    part = variance / 4
    return VolumeModel(phi, part, 1.0, 0.7, part, part, (level, 0.0), (part, 0.0, part))


def em_step(model: VolumeModel, days: Sequence[LogDay]) -> tuple[VolumeModel, float]:
    """One iteration: smooth with the old parameters, then take those of greatest expected likelihood.

    Returns:
        The new model, and the log likelihood of the old one.
    """
    smoothed = smooth(model, days)
    states, bins = smoothed.states, len(model.phi)
    a_eta, var_eta = _autoregression(
        [(states[at], states[at - 1], smoothed.lagged[at][0]) for at in range(bins, len(states), bins)], 0
    )
    a_mu, var_mu = _autoregression(
        [
            (after, before, lag[1])
            for (before, after), lag in zip(pairwise(states), smoothed.lagged[1:], strict=True)
        ],
        1,
    )
    phi, noise = _observation(states, days, bins)
    first = states[0]
    return (
        VolumeModel(
            phi, noise, a_eta, a_mu, var_eta, var_mu, (first.eta, first.mu), (first.ee, first.em, first.mm)
        ),
        smoothed.log_likelihood,
    )


def fit(
    days: Sequence[LogDay],
    start: VolumeModel | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 500,
) -> Fit:
    """Fit the model by expectation-maximisation.

    The likelihood never falls; EM is stopped when an iteration raises it by less than `tolerance` per bin.

    Args:
        days: log volumes of the training days, None where missing.
        start: first parameters; `first_guess` by default.
        tolerance: gain in log likelihood per bin that is too little to go on.
        max_iterations: bound on the iterations, at least 1.

    Raises:
        ValueError: fewer than two days, or days of different length.
    """
    model, before = start or first_guess(days), float("-inf")
    _check_bins(model, days)
    enough = tolerance * len(days) * len(model.phi)
    for iteration in range(1, max_iterations + 1):
        model, likelihood = em_step(model, days)
        if likelihood - before < enough:
            return Fit(model, iteration, likelihood, True)
        before = likelihood
    return Fit(model, max_iterations, before, False)


def _autoregression(pairs: Sequence[tuple[State, State, float]], component: int) -> tuple[float, float]:
    """Coefficient and innovation variance of one component, from (after, before, covariance)."""
    cross = before_square = after_square = 0.0
    for after, before, lag in pairs:
        now, then = (after.mu, before.mu) if component else (after.eta, before.eta)
        cross += now * then + lag
        before_square += then * then + (before.mm if component else before.ee)
        after_square += now * now + (after.mm if component else after.ee)
    kept = cross / before_square
    return kept, max((after_square - kept * cross) / len(pairs), 1e-12)


def _observation(
    states: Sequence[State], days: Sequence[LogDay], bins: int
) -> tuple[tuple[float, ...], float]:
    """Profile and noise: per bin the mean of what the state leaves, and the spread around it."""
    left: list[list[float]] = [[] for _ in range(bins)]
    doubt = []
    for at, observed in enumerate(value for day in days for value in day):
        if observed is not None:
            state = states[at]
            left[at % bins].append(observed - state.eta - state.mu)
            doubt.append(state.ee + 2 * state.em + state.mm)
    phi = tuple(fsum(values) / len(values) for values in left)
    squares = fsum((value - mean) ** 2 for values, mean in zip(left, phi, strict=True) for value in values)
    return phi, (squares + fsum(doubt)) / len(doubt)


def _check_bins(model: VolumeModel, days: Sequence[LogDay]) -> None:
    for number, day in enumerate(days):
        if len(day) != len(model.phi):
            raise ValueError(f"day {number}: {len(model.phi)} bins, not {len(day)}")
