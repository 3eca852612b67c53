"""What is done to a world, as data: drawn from a seed, shrunk to what matters, saved and played again."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import msgspec

from qtinfra.core.extended_models import AckPolicy, ChainedReplace, HaltPolicy, Policies

#: Ordinary trading: how often, in parts.
TRADING: dict[str, int] = {
    "submit": 260,
    "submit_gtd": 40,
    "cancel": 80,
    "replace": 80,
    "status": 25,
    "mass_cancel": 5,
    "again": 25,
    "clash": 8,
    "nonsense": 8,
    "stranger": 150,
    "wait": 60,
    "speak": 15,
    "lines_up": 20,
    "unfreeze": 15,
    "release_kills": 20,
    "resume": 15,
}

#: Faults, by kind: how often, in parts, in a world that has them.
FAULTS: dict[str, int] = {
    "burst": 8,
    "bust": 22,
    "correct": 16,
    "unsolicited": 18,
    "silent": 12,
    "twice": 30,
    "swap": 30,
    "refuse": 14,
    "sever": 24,
    "cut_sending": 30,
    "flap": 10,
    "stall": 8,
    "gap": 26,
    "reset": 8,
    "jump": 8,
    "crash_turn": 26,
    "crash_effect": 22,
    "crash_disk": 30,
    "crash_recovery": 10,
    "disk_error": 14,
    "disk_full": 8,
    "stale": 10,
    "kill_switch": 8,
    "halt": 6,
    "poison": 5,
    "poison_hard": 4,
    "snapshot_damaged": 8,
    "snapshot_ahead": 16,
    "flip": 5,
}

_SHARE = 0.55
#: Orders with an end of their own: many, or so few that nothing else wakes who waits for their end.
_GTD = (3, 8, 15, 60)
_MOST_WHIM = 1_000_003


class Action(msgspec.Struct, frozen=True, array_like=True):
    """One thing that is done: `wait_us` microseconds after the one before; `whim` decides the details."""

    kind: str
    wait_us: int
    whim: int


class Script(msgspec.Struct, frozen=True):
    """A run: the terms of its world, and what is done to it.

    Attributes:
        seed: of the delays of its network and its disk.
        policies: of all its accounts.
    """

    seed: int
    policies: Policies
    actions: tuple[Action, ...]

    def with_actions(self, actions: tuple[Action, ...]) -> Script:
        """The same world with other actions."""
        return Script(self.seed, self.policies, actions)

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Script:
        """Read a saved script.

        Raises:
            msgspec.ValidationError: the text is no script.
        """
        return msgspec.json.decode(text, type=Script)


def draw_policies(seed: int) -> Policies:
    """The policies of a seed's accounts."""
    rng = Random(f"policies/{seed}")
    return Policies(
        rng.choice(list(AckPolicy)), rng.choice(list(ChainedReplace)), rng.choice(list(HaltPolicy))
    )


def draw_actions(seed: int) -> Iterator[Action]:
    """Actions without end. Each seed has a selection of the faults of its own, some of them often."""
    rng = Random(f"actions/{seed}")
    weights = {**TRADING, "submit_gtd": rng.choice(_GTD)}
    for kind, weight in FAULTS.items():
        if rng.random() < _SHARE:
            weights[kind] = weight * rng.choice((1, 1, 2, 4))
    kinds, shares = list(weights), list(weights.values())
    quiet = rng.choice((400, 1_000, 2_500))
    while True:
        for kind in rng.choices(kinds, shares, k=64):
            yield Action(kind, rng.randrange(quiet), rng.randrange(_MOST_WHIM))
