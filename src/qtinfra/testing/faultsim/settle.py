"""The end of a run: every fault is over, everything has been said, and then all records must agree."""

from __future__ import annotations

from qtinfra.core.commands import SetLimit
from qtinfra.core.extended_models import LimitRule
from qtinfra.engine.state import state_hash
from qtinfra.runtime.replay import replay_journal
from qtinfra.testing.faultsim.actions import reopen_one, some_order
from qtinfra.testing.faultsim.checks import compare, unsettled
from qtinfra.testing.faultsim.engine import CAPACITY, MAX_ORDER_QTY, VENUES, Life
from qtinfra.testing.faultsim.eventloop import OUTSIDE
from qtinfra.testing.faultsim.world import World

_STEP_NS = 100_000_000
_MOST_STEPS = 120
_LONGEST_NS = 20_000_000_000
_SHOWN = 12


def settle(world: World) -> None:
    """Let everything come to rest, then add what does not agree to `world.found`."""
    _heal(world)
    quiet, reopened = 0, False
    for step in range(_MOST_STEPS):
        world.run_for(_STEP_NS)
        if world.violations():
            return
        _assist(world, step)
        quiet = quiet + 1 if _at_rest(world) else 0
        if quiet < 2:
            continue
        if not reopened and reopen_one(world, step):
            quiet, reopened = 0, True  # the last fault: nothing but its timer ends that order now
        elif not _pass_ends(world):
            break
    else:
        world.found.append(f"the world does not come to rest: {'; '.join(why_not(world)[:_SHOWN])}")
        return
    agree(world)


def _heal(world: World) -> None:
    """All faults end; lines are broken once more, so that whatever was lost on them is sent again."""
    world.disk.free()
    world.turns_left = world.effects_left = None
    for life in list(world.running):
        if life is world.stopped:
            world.stopped = None
            world.loop.give_back(life.number)
            world.send(some_order(world, life.number), to=life)  # its next append finds the other owner
    if world.life is not None and world.life.ready and world.life.journal.on_reserve:
        world.crash(power=False)  # there is space again: a restart holds a reserve anew
    for host in world.hosts.values():
        host.venue.silent = host.venue.refuse_all = host.venue.twice = host.venue.swap = False
        host.publish(host.venue.speak())
        world.set_line(host.port, True)
        world.net.stall(host.port, False)
        world.net.sever(host.port)


def _assist(world: World, step: int) -> None:
    """Clients ask again for what they have no answer to; former owners try to append."""
    life = world.life
    for former in world.running:
        if former is not life and former.ready and former.shard.stopped is None:
            _try_append(world, former)
    if life is None or not life.ready or step % 2:
        return
    world.look_at_sessions()
    for number, command in list(world.clients.waiting.items())[:CAPACITY]:
        world.send(command, number)


def _try_append(world: World, former: Life) -> None:
    """Hand a former owner a control, which is taken on a full disk too: it learns from its append, and from
    nothing else, that another one owns the shard. Were it durable, it would change nothing."""
    with world.acting_as(former.number):
        done = former.shard.offer(SetLimit(LimitRule.MAX_ORDER_QTY, MAX_ORDER_QTY), "client")
        done.add_done_callback(lambda answer: answer.exception())


def why_not(world: World) -> list[str]:
    """What has not come to rest yet, in words."""
    life = world.life
    if life is None or not life.ready:
        return ["no engine serves"]
    state = life.shard.state
    found = [f"{mic} is not connected" for mic in VENUES if not state.connected(mic)]
    if len(world.running) > 1:
        found.append("a former owner still runs")
    if world.clients.waiting:
        found.append(f"{len(world.clients.waiting)} commands have no answer")
    if life.journal.head.seq != state.seq or life.shard.waiting:
        found.append("not everything is durable")
    for mic, host in world.hosts.items():
        if state.inbound.get(mic, 0) != host.session.last_seq and host.session.last_seq:
            found.append(f"{mic} has said {host.session.last_seq}, taken are {state.inbound.get(mic, 0)}")
    return found + unsettled(state) + _overdue(world)


def _overdue(world: World) -> list[str]:
    """Orders whose time ended a while ago, by the clock of the engine that serves."""
    life = world.life
    if life is None:
        return []
    now_ns = life.clock.now_ns()
    state = life.shard.state
    return [
        f"order {order_id} should have ended"
        for order_id in state.open_orders
        if (special := state.orders[order_id].special) is not None
        and 0 < special.expire_ns < now_ns
        and state.orders[order_id].order_id not in state.frozen
    ]


def _pass_ends(world: World) -> bool:
    """Let time pass until the last open order with an end of its own should have ended; whether there was one
    whose end is near enough to wait for."""
    life = world.life
    if life is None:
        return False
    state, now_ns = life.shard.state, life.clock.now_ns()
    terms = [state.orders[order_id].special for order_id in state.open_orders]
    ends = [special.expire_ns for special in terms if special is not None]
    ahead_ns = [end_ns - now_ns for end_ns in ends if 0 < end_ns - now_ns < _LONGEST_NS]
    if ahead_ns:
        world.run_for(max(ahead_ns) + _STEP_NS)
    return bool(ahead_ns)


def _at_rest(world: World) -> bool:
    return not why_not(world)


def agree(world: World) -> None:
    """The engine, the journal, the clients and the venues tell the same."""
    life = world.life
    if life is None:
        return
    world.durable.audit()
    state = life.shard.state
    if state_hash(state) != state_hash(world.durable.state):
        world.found.append("the state in memory is not what its durable records make")
    records = {mic: host.venue.orders() for mic, host in world.hosts.items()}
    world.found += list(compare(state, records))
    world.found += world.clients.lost(state)
    replayed = replay_journal(life.journal, decide=True)
    if not replayed.decide_equal:
        where = replayed.first_difference
        world.found.append(f"deciding again gives another record at sequence {where}")
    world.loop.owner = OUTSIDE
