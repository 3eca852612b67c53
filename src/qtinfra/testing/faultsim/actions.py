"""What can be done to a world: trading, and every kind of fault. Each act takes a number that decides all."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    EngageKillSwitch,
    HaltInstrument,
    MassCancel,
    OrderStatusRequest,
    ReleaseKillSwitch,
    ReplaceOrder,
    SubmitOrder,
    Unfreeze,
)
from qtinfra.core.extended_models import KillScope
from qtinfra.core.models import OrderSide, OrderType, TimeInForce
from qtinfra.core.special import SpecialTerms
from qtinfra.testing.faultsim import tamper
from qtinfra.testing.faultsim.disk import DiskFault
from qtinfra.testing.faultsim.engine import ACCOUNTS, CAPACITY, JOURNAL, SYMBOLS, VENUES
from qtinfra.testing.faultsim.eventloop import OUTSIDE
from qtinfra.testing.faultsim.script import Action
from qtinfra.testing.faultsim.venue import VenueHost, pick
from qtinfra.testing.faultsim.world import World

_TIFS = (
    TimeInForce.DAY,
    TimeInForce.GTC,
    TimeInForce.DAY,
    TimeInForce.IOC,
    TimeInForce.GTC,
    TimeInForce.FOK,
    TimeInForce.DAY,
)
_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000
_HOUR = 3_600 * _SECOND


def perform(world: World, action: Action) -> None:
    """Let time pass, then do one thing."""
    world.run_for(action.wait_us * 1_000)
    world.counts[f"do_{action.kind}"] += 1
    _ACTS[action.kind](world, action.whim)


# --- clients ---------------------------------------------------------------------------------------------


def some_order(world: World, whim: int, prefix: str = "O") -> SubmitOrder:
    """A new order, under an id that was not used before."""
    number = len(world.clients.sent) + 1
    side = OrderSide.BUY if whim % 3 else OrderSide.SELL
    market = whim % 19 == 0
    tif = TimeInForce.DAY if market else _TIFS[whim // 3 % len(_TIFS)]
    ticks = 5_000 + whim // 7 % 9 - 4
    qty = Decimal(1 + whim // 11 % 120)
    return SubmitOrder(
        ACCOUNTS[whim // 5 % 3],
        f"{prefix}{number}",
        SYMBOLS[whim // 17 % 3],
        side,
        OrderType.MARKET if market else OrderType.LIMIT,
        tif,
        qty,
        None if market else Decimal(ticks).scaleb(-2),
    )


def _submit(world: World, whim: int) -> None:
    order = some_order(world, whim)
    world.send(order)
    if whim % 23 == 0:
        world.send(CancelOrder(order.account, f"C{len(world.clients.sent) + 1}", order.cl_ord_id))


def _submit_gtd(world: World, whim: int) -> None:
    """An order with an end of its own: one that trades at once, or one that rests until then."""
    number = len(world.clients.sent) + 1
    buys = whim // 3 % 2 == 0
    away = 3 if whim % 3 else -8
    end_ns = world.wall_ns + world.loop.now_ns + (1 + whim // 13 % 160) * 50 * _MILLISECOND
    order = SubmitOrder(
        ACCOUNTS[whim // 5 % 3],
        f"O{number}",
        SYMBOLS[whim // 17 % 3],
        OrderSide.BUY if buys else OrderSide.SELL,
        OrderType.LIMIT,
        TimeInForce.GTD,
        Decimal(1 + whim // 11 % 40),
        Decimal(5_000 + (away if buys else -away)).scaleb(-2),
        special=SpecialTerms(expire_ns=end_ns),
    )
    world.send(order)


def _burst(world: World, whim: int) -> None:
    """Five times as many orders at once as may wait; a cancel among them passes."""
    for number in range(5 * CAPACITY):
        if number == 3 * CAPACITY:
            _cancel(world, whim)
        world.send(some_order(world, whim + number * 31))


def _recent_order(world: World, whim: int) -> SubmitOrder | None:
    """Mostly a recent order."""
    orders = [command for command in world.clients.sent.values() if isinstance(command, SubmitOrder)]
    return pick(orders[-12:] if whim % 4 else orders, whim // 4)


def _cancel(world: World, whim: int) -> None:
    order = _recent_order(world, whim)
    if order is not None:
        world.send(CancelOrder(order.account, f"C{len(world.clients.sent) + 1}", order.cl_ord_id))


def _replace(world: World, whim: int) -> None:
    order = _recent_order(world, whim)
    if order is None:
        return
    qty = Decimal(1 + whim // 3 % 160) if whim % 4 else None
    price = Decimal(5_000 + whim % 9 - 4).scaleb(-2) if whim % 3 == 0 or qty is None else None
    number = len(world.clients.sent) + 1
    world.send(ReplaceOrder(order.account, f"R{number}", order.cl_ord_id, qty, price))


def _status(world: World, whim: int) -> None:
    order = _recent_order(world, whim)
    if order is not None:
        world.send(OrderStatusRequest(order.account, order.cl_ord_id))


def _mass_cancel(world: World, whim: int) -> None:
    world.send(MassCancel(ACCOUNTS[whim % 3], f"M{len(world.clients.sent) + 1}"))


def _again(world: World, whim: int) -> None:
    """What has no answer is sent again, under the same ids; or an order that has one."""
    if whim % 3 and world.clients.waiting:
        for number, command in list(world.clients.waiting.items()):
            world.send(command, number)
        return
    order = _recent_order(world, whim)
    if order is not None:
        world.send(order)


def _clash(world: World, whim: int) -> None:
    """The id of an order that was answered, with other content."""
    key = pick(list(world.clients.contents), whim)
    if key is not None:
        first = world.clients.contents[key]
        world.send(
            SubmitOrder(
                first.account,
                first.cl_ord_id,
                first.symbol,
                first.side,
                first.order_type,
                first.tif,
                first.qty + 1,
                first.price,
                special=first.special,
            )
        )


def _nonsense(world: World, whim: int) -> None:
    odd = (Decimal("NaN"), Decimal(0), Decimal(-5), Decimal("1.5"), Decimal("1e400"))[whim % 5]
    number = len(world.clients.sent) + 1
    symbol = SYMBOLS[0] if whim % 3 else "NOPE"
    order = SubmitOrder(
        ACCOUNTS[0] if whim % 7 else "nobody",
        f"N{number}",
        symbol,
        OrderSide.BUY,
        OrderType.LIMIT,
        TimeInForce.DAY,
        odd,
        Decimal("50.005") if whim % 2 else Decimal(50),
    )
    world.send(order)


def _poison(world: World, whim: int) -> None:
    world.send(some_order(world, whim, "PD"))


def _poison_hard(world: World, whim: int) -> None:
    world.send(some_order(world, whim, "PE"))


# --- staff -----------------------------------------------------------------------------------------------


def _staff(world: World, command: AnyCommand) -> None:
    world.send(command)


def _unfreeze(world: World, whim: int) -> None:
    subject = pick(list(world.durable.state.frozen), whim)
    if subject is not None:
        _staff(world, Unfreeze(subject, "looked at"))


def _kill_switch(world: World, whim: int) -> None:
    scope, value = (
        (KillScope.ACCOUNT, ACCOUNTS[whim // 4 % 3]),
        (KillScope.SYMBOL, SYMBOLS[whim // 4 % 3]),
        (KillScope.VENUE, VENUES[whim // 4 % 3]),
        (KillScope.FIRM, ""),
    )[whim % 4]
    _staff(world, EngageKillSwitch(scope, value))


def _release_kills(world: World, whim: int) -> None:
    del whim
    for key in list(world.durable.state.kills):
        scope, _, value = key.partition(":")
        _staff(world, ReleaseKillSwitch(KillScope(scope), value))


def _halt(world: World, whim: int) -> None:
    symbol = SYMBOLS[whim % 3]
    _staff(world, HaltInstrument(symbol, symbol not in world.durable.state.halted))


# --- venues ----------------------------------------------------------------------------------------------


def _host(world: World, whim: int) -> VenueHost:
    return world.hosts[VENUES[whim % 3]]


def _stranger(world: World, whim: int) -> None:
    host = _host(world, whim)
    symbol, buy = SYMBOLS[whim // 3 % 3], whim // 9 % 2 == 0
    rests = whim // 18 % 3 == 0
    ticks = 5_000 + (-1 - whim // 54 % 4 if buy else 1 + whim // 54 % 4) if rests else None
    host.publish(host.venue.stranger(symbol, buy, 1 + whim // 54 % 90, ticks, host.now_ns()))


def _bust(world: World, whim: int) -> None:
    """Any execution, or one whose order has an end of its own to come."""
    if whim % 5 < 3 and reopen_one(world, whim // 5):
        return
    host = _host(world, whim)
    world.counts["busts"] += host.publish(host.venue.bust_some(whim // 3, host.now_ns()))


def reopen_one(world: World, whim: int) -> bool:
    """Bust the last execution of an order that is filled before its end; false when there is none."""
    state, now_ns = world.durable.state, world.wall_ns + world.loop.now_ns
    filled = [
        order
        for order in state.orders.values()
        if order.special is not None
        and order.special.expire_ns > now_ns
        and order.filled
        and order.executions
    ]
    order = pick(filled[-3:], whim)
    if order is None:
        return False
    execution = state.executions[order.executions[-1]]
    host = world.hosts[execution.venue]
    busted = host.publish(host.venue.bust_some(0, host.now_ns(), execution.exec_id))
    world.counts["busts"] += busted
    return bool(busted)


def _correct(world: World, whim: int) -> None:
    host = _host(world, whim)
    world.counts["corrections"] += host.publish(host.venue.correct_some(whim // 3, host.now_ns()))


def _unsolicited(world: World, whim: int) -> None:
    host = _host(world, whim)
    host.publish(host.venue.cancel_some(whim // 3, host.now_ns()))


def _silent(world: World, whim: int) -> None:
    _host(world, whim).venue.silent = True


def _speak(world: World, whim: int) -> None:
    del whim
    for host in world.hosts.values():
        host.venue.refuse_all = False
        host.publish(host.venue.speak())


def _twice(world: World, whim: int) -> None:
    _host(world, whim).venue.twice = True


def _swap(world: World, whim: int) -> None:
    _host(world, whim).venue.swap = True


def _refuse(world: World, whim: int) -> None:
    _host(world, whim).venue.refuse_all = True


def _reset(world: World, whim: int) -> None:
    """A venue loses its session, at a moment when it is known which of its reports the journal has."""
    host = _host(world, whim)
    taken = world.durable.state.inbound.get(host.mic, 0)
    if world.durable.state.sessions.get(host.mic, host.session.name) != host.session.name:
        taken = 0
    gateway = world.life.gateways.get(host.mic) if world.life is not None else None
    if world.stopped is not None or gateway is None or gateway.next_seq - 1 != taken:
        return
    world.counts["resets"] += 1
    world.spawn(host.reset(taken))


# --- lines -----------------------------------------------------------------------------------------------


def _sever(world: World, whim: int) -> None:
    world.counts["severed"] += world.net.sever(_host(world, whim).port)


def _cut_sending(world: World, whim: int) -> None:
    """The line breaks after so many more bytes, in the middle of a message."""
    for end in world.net.ends(_host(world, whim).port):
        side = end if whim // 3 % 3 else end.peer
        side.cut_after = whim // 9 % 300


def _flap(world: World, whim: int) -> None:
    """Down, up, down, up: every 30 ms."""
    port = _host(world, whim).port
    for number in range(6):
        world.loop.call_for(OUTSIDE, number * 30 * _MILLISECOND, world.set_line, port, number % 2 == 1)


def _stall(world: World, whim: int) -> None:
    world.net.stall(_host(world, whim).port, True)


def _lines_up(world: World, whim: int) -> None:
    del whim
    for host in world.hosts.values():
        world.set_line(host.port, True)
        world.net.stall(host.port, False)
    world.look_at_sessions()


def _gap(world: World, whim: int) -> None:
    """One message of the venue is lost on a line that goes on."""
    for end in world.net.ends(_host(world, whim).port):
        end.peer.lose_next = True


# --- time ------------------------------------------------------------------------------------------------


def _wait(world: World, whim: int) -> None:
    world.run_for((20, 60, 200, 700, 3_000)[whim % 5] * _MILLISECOND)


def _jump(world: World, whim: int) -> None:
    world.wall_ns += (_HOUR, -_HOUR, -5 * _SECOND, _SECOND)[whim % 4]


# --- the machine -----------------------------------------------------------------------------------------


def _crash_turn(world: World, whim: int) -> None:
    world.power = whim % 3 != 0
    world.turns_left = whim // 3 % 60


def _crash_effect(world: World, whim: int) -> None:
    world.power = whim % 3 != 0
    world.effects_left = whim // 3 % 14


def _crash_disk(world: World, whim: int) -> None:
    world.power = whim % 3 != 0
    fault = (DiskFault.POWER, DiskFault.TORN, DiskFault.AFTER)[whim // 3 % 3]
    world.disk.arm(fault, whim // 9 % 12, whim)


def _crash_recovery(world: World, whim: int) -> None:
    """Stop now, and once or twice more while the next engine takes over."""
    world.power = whim % 2 == 0
    world.crash(power=world.power)
    world.disk.arm((DiskFault.POWER, DiskFault.AFTER)[whim // 2 % 2], whim // 4 % 4, whim)


def _disk_error(world: World, whim: int) -> None:
    fault = (DiskFault.EIO_SYNC, DiskFault.EIO_WRITE, DiskFault.SHORT)[whim % 3]
    world.disk.arm(fault, whim // 3 % 10, whim)


def _disk_full(world: World, whim: int) -> None:
    world.disk.arm(DiskFault.FULL, whim % 10, whim)


def _stale(world: World, whim: int) -> None:
    """The engine is stopped in the middle of its work, and another takes over."""
    life = world.life
    if life is None or not life.ready or world.stopped is not None:
        return
    world.counts["takeovers"] += 1
    world.loop.put_aside(life.number)
    world.stopped, world.life = life, None
    lock = JOURNAL.with_name(f"{JOURNAL.name}.lock")
    if world.disk.is_locked(lock):
        world.disk.remove(lock)
    world.boot_later(whim % 50 * _MILLISECOND)


def _resume(world: World, whim: int) -> None:
    """The stopped engine goes on, as if nothing had happened."""
    life = world.stopped
    if life is not None and world.life is not None and world.life.ready:
        world.counts["resumed"] += 1
        world.stopped = None
        world.loop.give_back(life.number)
        world.send(some_order(world, whim), to=life)


_ACTS: dict[str, Callable[[World, int], None]] = {
    "submit": _submit,
    "submit_gtd": _submit_gtd,
    "cancel": _cancel,
    "replace": _replace,
    "status": _status,
    "mass_cancel": _mass_cancel,
    "again": _again,
    "clash": _clash,
    "nonsense": _nonsense,
    "stranger": _stranger,
    "wait": _wait,
    "speak": _speak,
    "lines_up": _lines_up,
    "unfreeze": _unfreeze,
    "release_kills": _release_kills,
    "resume": _resume,
    "burst": _burst,
    "bust": _bust,
    "correct": _correct,
    "unsolicited": _unsolicited,
    "silent": _silent,
    "twice": _twice,
    "swap": _swap,
    "refuse": _refuse,
    "sever": _sever,
    "cut_sending": _cut_sending,
    "flap": _flap,
    "stall": _stall,
    "gap": _gap,
    "reset": _reset,
    "jump": _jump,
    "crash_turn": _crash_turn,
    "crash_effect": _crash_effect,
    "crash_disk": _crash_disk,
    "crash_recovery": _crash_recovery,
    "disk_error": _disk_error,
    "disk_full": _disk_full,
    "stale": _stale,
    "kill_switch": _kill_switch,
    "halt": _halt,
    "poison": _poison,
    "poison_hard": _poison_hard,
    "snapshot_damaged": tamper.damage_snapshot,
    "snapshot_ahead": tamper.cut_below_snapshot,
    "flip": tamper.flip_bit,
}
