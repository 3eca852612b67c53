"""Cash by account and currency: what the day began with, and what trades, fees and payments did to it.

Balances are on trade date: a trade counts when it is booked, not when it settles. A bust posts what was
posted with the opposite sign, a correction the difference, so that a balance is always the sum of what counts
today. Amounts are exact, positive when received.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.models import Currency, Money


class Flow(StrEnum):
    """Why cash moves. TRADE: proceeds less cost; FEE: commissions and levies; TRANSFER: paid in or out;
    INCOME: dividends, interest; EXCHANGE: one currency for another.
    """

    TRADE = "TRADE"
    FEE = "FEE"
    TRANSFER = "TRANSFER"
    INCOME = "INCOME"
    EXCHANGE = "EXCHANGE"


class CashBalance(msgspec.Struct, array_like=True, gc=False):
    """One account's cash in one currency: the opening and the sum of each flow. `posted` counts postings."""

    opening: Decimal = ZERO
    trades: Decimal = ZERO
    fees: Decimal = ZERO
    transfers: Decimal = ZERO
    income: Decimal = ZERO
    exchanges: Decimal = ZERO
    posted: int = 0

    @property
    def total(self) -> Decimal:
        """The balance, negative when overdrawn; exact in any context."""
        total = self.opening
        for flow in (self.trades, self.fees, self.transfers, self.income, self.exchanges):
            total = EXACT.add(total, flow)
        return canonical(total)


_FIELDS = {
    Flow.TRADE: "trades",
    Flow.FEE: "fees",
    Flow.TRANSFER: "transfers",
    Flow.INCOME: "income",
    Flow.EXCHANGE: "exchanges",
}


class CashLedger(msgspec.Struct, gc=False):
    """Cash balances by account, then by currency, both in order of their first posting."""

    accounts: dict[str, dict[Currency, CashBalance]] = {}

    def load(self, account: str, amount: Money) -> None:
        """Set what an account has at the start of day; may be negative. A second load replaces the first.

        Raises:
            ValueError: cash has moved in this currency already; nothing is replaced.
        """
        balance = self._balance(account, amount.currency)
        if balance.posted:
            raise ValueError(
                f"{amount.currency} cash of {account} has moved: its start-of-day balance stands"
            )
        balance.opening = amount.amount

    def post(self, account: str, amount: Money, flow: Flow) -> None:
        """Move cash: positive is received. What is taken back is posted with the opposite sign."""
        balance = self._balance(account, amount.currency)
        field = _FIELDS[flow]
        setattr(balance, field, EXACT.add(getattr(balance, field), amount.amount))
        balance.posted += 1

    def exchange(self, account: str, sold: Money, bought: Money) -> None:
        """Exchange one currency for another at the dealt amounts, both positive.

        Raises:
            ValueError: an amount is not positive, or both are in one currency.
        """
        if sold.amount <= ZERO or bought.amount <= ZERO or sold.currency is bought.currency:
            raise ValueError(f"not an exchange of currencies: {sold} for {bought}")
        self.post(account, Money(EXACT.minus(sold.amount), sold.currency), Flow.EXCHANGE)
        self.post(account, bought, Flow.EXCHANGE)

    def roll(self) -> None:
        """Begin the next day: every balance becomes the opening, and nothing has moved yet."""
        for balances in self.accounts.values():
            for currency, balance in balances.items():
                balances[currency] = CashBalance(opening=balance.total)

    def balance(self, account: str, currency: Currency) -> Money:
        """What the account has in a currency; 0 when it never had any."""
        found = self.accounts.get(account, {}).get(currency)
        return Money(ZERO if found is None else found.total, currency)

    def balances(self, account: str) -> Iterator[Money]:
        """The account's balances in all its currencies, zero ones included."""
        for currency, balance in self.accounts.get(account, {}).items():
            yield Money(balance.total, currency)

    def _balance(self, account: str, currency: Currency) -> CashBalance:
        return self.accounts.setdefault(account, {}).setdefault(currency, CashBalance())


def proceeds(signed_qty: Decimal, px: Decimal, multiplier: Decimal, currency: Currency) -> Money:
    """The cash flow of a trade in something that is paid in full (not a future): a sale is positive."""
    cost = EXACT.multiply(EXACT.multiply(signed_qty, px), multiplier)
    return Money(canonical(EXACT.minus(cost)), currency)
