"""Market impact of equity orders by power laws, with the coefficients estimated on US trades.

Source: R. Almgren, C. Thum, E. Hauptmann, H. Li, "Direct estimation of equity market impact", Risk 18 (2005),
57-62.
"""

from __future__ import annotations

from math import copysign, isfinite

import msgspec


class PowerLaw(msgspec.Struct, frozen=True):
    """Coefficients; the defaults are the paper's estimates.

    Attributes:
        gamma: of permanent impact. Standard error 0.041.
        eta: of temporary impact. Standard error 0.0062.
        beta: power of the trading rate. Standard error 0.038.
        delta: power of shares outstanding over daily volume; estimated 0.267, standard error 0.22, set to
            1/4.
    """

    gamma: float = 0.314
    eta: float = 0.142
    beta: float = 0.600
    delta: float = 0.25


GAMMA_ERROR = 0.041
ETA_ERROR = 0.0062


class Impact(msgspec.Struct, frozen=True):
    """What an order does to the price, as fractions of the price; buys raise it, sells lower it.

    Attributes:
        permanent: move that stays after the trade (I).
        temporary: move while trading, beyond the permanent one.
        cost: what the order pays against the price before it: half the permanent move and the temporary one,
            above 0 for buys and sells.
    """

    permanent: float
    temporary: float
    cost: float


def impact(
    shares_over_adv: float,
    horizon_days: float,
    daily_volatility: float,
    outstanding_over_adv: float,
    law: PowerLaw | None = None,
) -> Impact:
    """Impact of an order worked at a constant rate in volume time.

    `I = gamma sigma (X/V) (Theta/V)^delta`, `temporary = sgn(X) eta sigma |X/(V T)|^beta`, `J = I/2 +
    temporary`.

    Args:
        shares_over_adv: size X as a fraction of the average daily volume V; negative for a sell.
        horizon_days: T, days of volume time, above 0.
        daily_volatility: sigma, as a fraction of the price.
        outstanding_over_adv: Theta/V, shares outstanding in days of volume, above 0.
        law: coefficients; the paper's by default.

    Raises:
        ValueError: a value is out of its range.
    """
    law = law or PowerLaw()
    if not isfinite(shares_over_adv):
        raise ValueError(f"shares_over_adv: a finite number, not {shares_over_adv}")
    for name, value in (("horizon_days", horizon_days), ("outstanding_over_adv", outstanding_over_adv)):
        if not isfinite(value) or value <= 0:
            raise ValueError(f"{name}: above 0, not {value}")
    if not isfinite(daily_volatility) or daily_volatility < 0:
        raise ValueError(f"daily_volatility: at least 0, not {daily_volatility}")
    permanent = law.gamma * daily_volatility * shares_over_adv * outstanding_over_adv**law.delta
    rate = abs(shares_over_adv) / horizon_days
    temporary = copysign(law.eta * daily_volatility * rate**law.beta, shares_over_adv)
    return Impact(permanent, temporary, abs(permanent / 2 + temporary))
