"""What the engine keeps about fees: the data in force, the tickets of open orders, the volumes of the month.

`quote` only reads and answers what an execution would be charged (for decide); `book`, `bust` and `correct`
change the state (for evolve) and name every execution whose fee is different now.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from qtinfra.core.decimals import EXACT, ZERO, canonical
from qtinfra.core.extended_models import Liquidity
from qtinfra.core.models import AssetClass, Currency, OrderSide
from qtinfra.positions.fees import (
    EMPTY_TICKET,
    EVERY_CLIENT,
    Accrual,
    Charge,
    FeeSchedule,
    NoFeeSchedule,
    RegulatoryFee,
    Ticket,
    accrue,
    allocate,
    charge,
    problems,
    regulatory_fees,
    schedule_for,
    ticket_key,
)


class Priced(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An execution as the fees see it. `qty` is unsigned, `currency` the instrument's.

    `volume_before` is the client's volume of the month (units) when it was booked, filled in by the book:
    later busts and corrections of other executions do not move this one to another tier.
    """

    key: str
    order_id: str
    client: str
    side: OrderSide
    qty: Decimal
    px: Decimal
    multiplier: Decimal
    currency: Currency
    asset_class: AssetClass
    liquidity: Liquidity
    trade_date: str
    volume_before: Decimal = ZERO

    @property
    def month(self) -> str:
        """Calendar month of the trade date, `YYYY-MM`."""
        return self.trade_date[:7]


class OpenTicket(msgspec.Struct, array_like=True, gc=False):
    """A ticket with its executions in order and what each is charged, by the schedule of the first one."""

    schedule_id: str
    total: Ticket = EMPTY_TICKET
    executions: list[Priced] = []
    charges: list[Charge] = []


class Recharge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An execution whose fee changed: `charge` is what it owes now, in place of `before`."""

    key: str
    before: Charge
    charge: Charge


class FeeBook(msgspec.Struct, gc=False):
    """Schedules by id, regulatory fees, tickets by order and ticket key, volumes by client and month.

    `offers` has the ids of each client's schedules, so that finding one does not go through all clients'.
    """

    schedules: dict[str, FeeSchedule] = {}
    offers: dict[str, list[str]] = {}
    levies: list[RegulatoryFee] = []
    tickets: dict[str, dict[str, OpenTicket]] = {}
    volumes: dict[str, dict[str, Decimal]] = {}

    def add_schedule(self, schedule: FeeSchedule) -> None:
        """Bring a schedule in; a change is a schedule of its own with a later date, under a new id.

        Raises:
            ValueError: the id is taken by other content, or the schedule contradicts itself.
        """
        name, found = schedule.schedule_id, problems(schedule)
        if self.schedules.get(name, schedule) != schedule:
            found.append("another schedule has this id")
        if found:
            raise ValueError(f"fee schedule {name!r}: {'; '.join(found)}")
        if name not in self.schedules:
            self.schedules[name] = schedule
            self.offers.setdefault(schedule.client, []).append(name)

    def add_levies(self, rows: Iterable[RegulatoryFee]) -> None:
        """Bring regulatory fees in; a row of the same name and date as an earlier one goes before it.

        Executions already charged keep their charge until their ticket is computed again.
        """
        self.levies.extend(rows)

    def volume(self, client: str, month: str) -> Decimal:
        """Units a client has traded in a month (`YYYY-MM`), busted ones left out."""
        return self.volumes.get(client, {}).get(month, ZERO)

    def quote(self, execution: Priced) -> Charge | NoFeeSchedule:
        """What the execution will be charged when it is booked next; changes nothing.

        Raises:
            ValueError: the quantity is not positive.
        """
        schedule = self._schedule(execution)
        if isinstance(schedule, NoFeeSchedule):
            return schedule
        ticket = self._ticket(schedule, execution)
        _, owed = self._charge(ticket, self._placed(execution))
        return owed

    def book(self, execution: Priced) -> Charge | NoFeeSchedule:
        """Add an execution to its ticket and to the month's volume; what it is charged.

        A ticket keeps the schedule of its first execution. Without a schedule nothing is booked.

        Raises:
            ValueError: the quantity is not positive; nothing is changed.
        """
        schedule = self._schedule(execution)
        if isinstance(schedule, NoFeeSchedule):
            return schedule
        ticket, placed = self._ticket(schedule, execution), self._placed(execution)
        ticket.total, owed = self._charge(ticket, placed)
        ticket.executions.append(placed)
        ticket.charges.append(owed)
        name = ticket_key(schedule, execution.trade_date, execution.key)
        self.tickets.setdefault(execution.order_id, {})[name] = ticket
        self._count(placed, placed.qty)
        return owed

    def bust(self, order_id: str, key: str) -> list[Recharge]:
        """Take an execution back, its fees with it; the rest of its ticket owes what it would alone.

        Returns:
            The executions whose fee changed, in order; the busted one is not among them.

        Raises:
            ValueError: the order's tickets are closed, or the execution is not in them.
        """
        name, ticket, index = self._locate(order_id, key)
        gone = ticket.executions.pop(index)
        del ticket.charges[index]
        self._count(gone, EXACT.minus(gone.qty))
        if ticket.executions:
            return self._reallocate(ticket)
        del self.tickets[order_id][name]
        if not self.tickets[order_id]:
            del self.tickets[order_id]
        return []

    def correct(self, order_id: str, key: str, qty: Decimal, px: Decimal) -> list[Recharge]:
        """Give an execution other values; every fee of its ticket is computed again. Quantity 0 is a bust.

        Returns:
            The executions whose fee changed, in order.

        Raises:
            ValueError: the tickets are closed, the execution is not in them, or the quantity is negative.
        """
        if qty < ZERO:
            raise ValueError(f"correction of trade {key!r} to a negative quantity: {qty}")
        if not qty:
            return self.bust(order_id, key)
        _, ticket, index = self._locate(order_id, key)
        old = ticket.executions[index]
        ticket.executions[index] = msgspec.structs.replace(old, qty=qty, px=px)
        self._count(old, EXACT.subtract(qty, old.qty))
        return self._reallocate(ticket)

    def holds(self, order_id: str, key: str) -> bool:
        """Whether the execution is in an open ticket: it was booked under a schedule and not busted."""
        tickets = self.tickets.get(order_id, {}).values()
        return any(execution.key == key for ticket in tickets for execution in ticket.executions)

    def close(self, order_id: str) -> None:
        """Forget the tickets of an order that nothing can change any more; the month's volume stays."""
        self.tickets.pop(order_id, None)

    def forget_months_before(self, month: str) -> None:
        """Forget the volumes of months before the given one (`YYYY-MM`)."""
        kept = {client: {m: v for m, v in by.items() if m >= month} for client, by in self.volumes.items()}
        self.volumes = {client: by for client, by in kept.items() if by}

    def _schedule(self, execution: Priced) -> FeeSchedule | NoFeeSchedule:
        names = self.offers.get(execution.client, []) + self.offers.get(EVERY_CLIENT, [])
        offered = [self.schedules[name] for name in names]
        return schedule_for(offered, execution.client, execution.currency, execution.trade_date)

    def _ticket(self, schedule: FeeSchedule, execution: Priced) -> OpenTicket:
        """The open ticket that the execution belongs to, or a new one that is not in the book yet."""
        name = ticket_key(schedule, execution.trade_date, execution.key)
        ticket = self.tickets.get(execution.order_id, {}).get(name)
        return OpenTicket(schedule.schedule_id) if ticket is None else ticket

    def _charge(self, ticket: OpenTicket, execution: Priced) -> tuple[Ticket, Charge]:
        schedule = self.schedules[ticket.schedule_id]
        return charge(schedule, ticket.total, _accrual(schedule, self.levies, execution))

    def _reallocate(self, ticket: OpenTicket) -> list[Recharge]:
        """Compute every charge of the ticket again; the executions whose charge is different now."""
        schedule = self.schedules[ticket.schedule_id]
        accruals = [_accrual(schedule, self.levies, execution) for execution in ticket.executions]
        ticket.total, fresh = allocate(schedule, accruals)
        changed = [
            Recharge(execution.key, before, now)
            for execution, before, now in zip(ticket.executions, ticket.charges, fresh, strict=True)
            if before != now
        ]
        ticket.charges = fresh
        return changed

    def _placed(self, execution: Priced) -> Priced:
        before = self.volume(execution.client, execution.month)
        if before == execution.volume_before:
            return execution
        return msgspec.structs.replace(execution, volume_before=before)

    def _count(self, execution: Priced, change: Decimal) -> None:
        months = self.volumes.setdefault(execution.client, {})
        months[execution.month] = canonical(EXACT.add(months.get(execution.month, ZERO), change))

    def _locate(self, order_id: str, key: str) -> tuple[str, OpenTicket, int]:
        for name, ticket in self.tickets.get(order_id, {}).items():
            for index, execution in enumerate(ticket.executions):
                if execution.key == key:
                    return name, ticket, index
        raise ValueError(
            f"no fees of trade {key!r} in order {order_id!r}: closed, busted already, or unknown"
        )


def _accrual(schedule: FeeSchedule, table: Iterable[RegulatoryFee], execution: Priced) -> Accrual:
    e = execution
    levies = regulatory_fees(
        table, e.side, e.qty, e.px, e.multiplier, e.asset_class, e.currency, e.trade_date
    )
    return accrue(
        schedule, e.side, e.qty, e.px, e.multiplier, e.liquidity, e.asset_class, e.volume_before, levies
    )
