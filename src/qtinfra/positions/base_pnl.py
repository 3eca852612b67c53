"""Profit and loss of an account in its base currency, with what exchange rates did kept apart.

For each currency the ledger keeps the capital that came in (cash and positions at the start of day,
payments), what trading earned and what it cost in fees, each in the currency and in base at the rates of its
policy. With `r` the rate now and `unrealised` the open profit by marks,

    total   = (capital + earned - fees + unrealised) * r  -  capital in base
    trading = earned in base + unrealised * r - fees in base
    fx      = total - trading

so that realised, unrealised, fees and FX always sum to the change of what the account is worth in base. With
direct rates `fx` is exactly what capital and past earnings gained by the change of the rate since they came.

Which rate converts what is realised is the account's policy. A bust or a correction changes the realised P&L
of later trades too; the change is booked when it comes, at the rate in force then (END_OF_DAY: of that day),
and FX takes the difference, so that the total is what it would be without the busted trade.

Source: IAS 21 paragraphs 21, 22 and 28: transactions at the rate of their date (or one for a period),
monetary items at the closing rate, the difference in profit or loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.extended_models import RealisedAt
from qtinfra.core.models import Currency, Money
from qtinfra.positions.fx import FxRates, MissingRate, conversion, convert

__all__ = ["AccountPnl", "BasePnl", "CurrencyPnl", "PnlLedger", "RealisedAt"]


class CurrencyPnl(msgspec.Struct, array_like=True, gc=False):
    """One account in one currency. `earned` and `fees` contain what is `pending`: not in base yet."""

    capital: Decimal = ZERO
    capital_base: Decimal = ZERO
    earned: Decimal = ZERO
    earned_base: Decimal = ZERO
    pending_earned: Decimal = ZERO
    fees: Decimal = ZERO
    fees_base: Decimal = ZERO
    pending_fees: Decimal = ZERO


class AccountPnl(msgspec.Struct, array_like=True, gc=False):
    """One account: its base currency, its policy, and its currencies in order of their first amount."""

    base: Currency
    policy: RealisedAt = RealisedAt.TRADE_TIME
    currencies: dict[Currency, CurrencyPnl] = {}

    def line(self, currency: Currency) -> CurrencyPnl:
        """The line of a currency, begun when it is new."""
        return self.currencies.setdefault(currency, CurrencyPnl())


class BasePnl(msgspec.Struct, frozen=True, gc=False):
    """P&L in the base currency. `fees` is positive when paid; `net` is realised + unrealised - fees + fx."""

    base: Currency
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    fx: Decimal
    net: Decimal


class PnlLedger(msgspec.Struct, gc=False):
    """Base-currency P&L of all accounts."""

    accounts: dict[str, AccountPnl] = {}

    def open(self, account: str, base: Currency, policy: RealisedAt = RealisedAt.TRADE_TIME) -> None:
        """Begin an account's P&L; again with the same terms does nothing.

        Raises:
            ValueError: the account is open with another base currency or policy.
        """
        known = self.accounts.setdefault(account, AccountPnl(base, policy))
        if (known.base, known.policy) != (base, policy):
            raise ValueError(f"P&L of {account} is in {known.base} at {known.policy} already")

    def contribute(self, account: str, amount: Money, rates: FxRates) -> MissingRate | None:
        """Capital comes in (positive) or goes out: start-of-day cash, a loaded position at cost, a payment.

        Returns:
            The missing rate, and then nothing has changed: capital needs its value in base.

        Raises:
            KeyError: the account is not open.
        """
        owner = self.accounts[account]
        worth = convert(rates, amount, owner.base)
        if isinstance(worth, MissingRate):
            return worth
        self._capital(owner, amount, worth.amount)
        return None

    def exchange(self, account: str, sold: Money, bought: Money, rates: FxRates) -> MissingRate | None:
        """Exchange currencies at dealt amounts (positive); both sides count at what the sold one is worth.

        Dealing away from the journaled rate is thereby FX P&L.

        Returns:
            The missing rate, and then nothing has changed.

        Raises:
            KeyError: the account is not open.
        """
        owner = self.accounts[account]
        worth = convert(rates, sold, owner.base)
        if isinstance(worth, MissingRate):
            return worth
        self._capital(owner, Money(EXACT.minus(sold.amount), sold.currency), EXACT.minus(worth.amount))
        self._capital(owner, bought, worth.amount)
        return None

    def earn(self, account: str, amount: Money, rates: FxRates) -> MissingRate | None:
        """A change of realised P&L, fees apart: what `realised` of the position is more than before.

        Returns:
            The missing rate; the amount is kept and waits for the end of the day.

        Raises:
            KeyError: the account is not open.
        """
        owner = self.accounts[account]
        line = owner.line(amount.currency)
        line.earned = EXACT.add(line.earned, amount.amount)
        worth = _worth_now(owner, amount, rates)
        if isinstance(worth, Decimal):
            line.earned_base = EXACT.add(line.earned_base, worth)
            return None
        line.pending_earned = EXACT.add(line.pending_earned, amount.amount)
        return worth

    def charge(self, account: str, amount: Money, rates: FxRates) -> MissingRate | None:
        """Fees paid (positive) or given back.

        Returns:
            The missing rate; the amount is kept and waits for the end of the day.

        Raises:
            KeyError: the account is not open.
        """
        owner = self.accounts[account]
        line = owner.line(amount.currency)
        line.fees = EXACT.add(line.fees, amount.amount)
        worth = _worth_now(owner, amount, rates)
        if isinstance(worth, Decimal):
            line.fees_base = EXACT.add(line.fees_base, worth)
            return None
        line.pending_fees = EXACT.add(line.pending_fees, amount.amount)
        return worth

    def end_of_day(self, rates: FxRates) -> list[tuple[str, MissingRate]]:
        """Convert what is pending at the day's closing rates; by account, the rates that were missing for it.

        What could not be converted goes on waiting.
        """
        missing: list[tuple[str, MissingRate]] = []
        for account, owner in self.accounts.items():
            for currency, line in owner.currencies.items():
                if not line.pending_earned and not line.pending_fees:
                    continue
                found = conversion(rates, currency, owner.base)
                if isinstance(found, MissingRate):
                    missing.append((account, found))
                    continue
                line.earned_base = EXACT.add(line.earned_base, found.apply(line.pending_earned))
                line.fees_base = EXACT.add(line.fees_base, found.apply(line.pending_fees))
                line.pending_earned = line.pending_fees = ZERO
        return missing

    def read(
        self, account: str, unrealised: Mapping[Currency, Decimal], rates: FxRates
    ) -> BasePnl | MissingRate:
        """The account's P&L in base at the given rates; what is pending counts at them too.

        Args:
            unrealised: open profit by currency, from the marks policy; a currency left out has none.

        Returns:
            The first missing rate that an amount needs, in place of a total without it.

        Raises:
            KeyError: the account is not open.
        """
        owner = self.accounts[account]
        new = {currency: CurrencyPnl() for currency in unrealised if currency not in owner.currencies}
        realised = floating = fees = fx = ZERO
        for currency, line in (owner.currencies | new).items():
            part = _line_pnl(line, currency, owner.base, unrealised.get(currency, ZERO), rates)
            if isinstance(part, MissingRate):
                return part
            realised, floating = EXACT.add(realised, part[0]), EXACT.add(floating, part[1])
            fees, fx = EXACT.add(fees, part[2]), EXACT.add(fx, part[3])
        net = _net(plus=(realised, floating, fx), minus=(fees,))
        return BasePnl(owner.base, canonical(realised), canonical(floating), canonical(fees), fx, net)

    def _capital(self, owner: AccountPnl, amount: Money, worth: Decimal) -> None:
        line = owner.line(amount.currency)
        line.capital = EXACT.add(line.capital, amount.amount)
        line.capital_base = EXACT.add(line.capital_base, worth)


def _worth_now(owner: AccountPnl, amount: Money, rates: FxRates) -> Decimal | MissingRate | None:
    """The amount in base when the policy converts at once; None when it waits for the end of the day."""
    if owner.policy is RealisedAt.END_OF_DAY:
        return None
    worth = convert(rates, amount, owner.base)
    return worth if isinstance(worth, MissingRate) else worth.amount


def _line_pnl(
    line: CurrencyPnl, currency: Currency, base: Currency, unrealised: Decimal, rates: FxRates
) -> tuple[Decimal, Decimal, Decimal, Decimal] | MissingRate:
    """(realised, unrealised, fees, fx) of one currency in base; a line without amounts needs no rate."""
    worth = _net(plus=(line.capital, line.earned, unrealised), minus=(line.fees,))
    amounts = (worth, unrealised, line.pending_earned, line.pending_fees)
    if not any(amounts):
        realised, floating, fees, value = line.earned_base, ZERO, line.fees_base, ZERO
    else:
        found = conversion(rates, currency, base)
        if isinstance(found, MissingRate):
            return found
        value, floating = found.apply(worth), found.apply(unrealised)
        realised = EXACT.add(line.earned_base, found.apply(line.pending_earned))
        fees = EXACT.add(line.fees_base, found.apply(line.pending_fees))
    fx = _net(plus=(value, fees), minus=(line.capital_base, realised, floating))
    return realised, floating, fees, fx


def _net(plus: tuple[Decimal, ...], minus: tuple[Decimal, ...]) -> Decimal:
    total = ZERO
    for amount in plus:
        total = EXACT.add(total, amount)
    for amount in minus:
        total = EXACT.subtract(total, amount)
    return canonical(total)
