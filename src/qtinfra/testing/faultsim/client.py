"""The clients: what they sent, what they were told, and whether they were ever told two things."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from qtinfra.core.commands import (
    AnyCommand,
    CancelOrder,
    EngageKillSwitch,
    ReleaseKillSwitch,
    ReplaceOrder,
    SubmitOrder,
)
from qtinfra.core.exceptions import OutcomeUnknownError, OverloadedError, QtInfraError
from qtinfra.core.reports import CXL_UNKNOWN_ORDER, NO_ORDER, ExecutionReport, OrderCancelReject
from qtinfra.engine.kernel import Outcome
from qtinfra.engine.lookup import kill_key
from qtinfra.engine.state import State

Key = tuple[str, str]

#: The answer to an id that was used before, with other content.
DUPLICATE = "duplicate"


class Clients:
    """Every command under its number, every answer, and every execution that a client was told of.

    Args:
        check: says why an outcome may not have been told; empty when it may.
        room: how many cancels an engine has to take at least.
        counts: what happened, by name.

    Attributes:
        contents, answers: of each client id, the first order that was answered, and the order's id.
        taken: commands that an engine has taken at least once.
    """

    def __init__(self, check: Callable[[Outcome], str], room: int, counts: Counter[str]) -> None:
        self.found: list[str] = []
        self.sent: dict[int, AnyCommand] = {}
        self.waiting: dict[int, AnyCommand] = {}
        self.answers: dict[Key, str] = {}
        self.contents: dict[Key, SubmitOrder] = {}
        self.kills: dict[str, bool] = {}
        self.taken: dict[int, bool] = {}
        self.overloaded: dict[Key, AnyCommand] = {}
        self.acknowledged = 0
        self.unknown = 0
        self._check = check
        self._room = room
        self._counts = counts
        self._number = 0

    def new(self, command: AnyCommand) -> int:
        """A number for a command that is about to be sent for the first time."""
        self._number += 1
        self.sent[self._number] = self.waiting[self._number] = command
        return self._number

    def refused(self, number: int, error: QtInfraError, cancels: int) -> None:
        """A command was not taken.

        Args:
            cancels: how many cancels and controls waited for their answers then.
        """
        command = self.sent[number]
        if isinstance(command, CancelOrder) and isinstance(error, OverloadedError) and cancels < self._room:
            self.found.append(f"cancel {command.cl_ord_id} was refused when {cancels} cancels waited")
        if isinstance(error, OverloadedError) and not self.taken.get(number):
            self.waiting.pop(number, None)
            key = _key(command)
            if key is not None and key not in self.answers:
                self.overloaded[key] = command
        elif not isinstance(error, OutcomeUnknownError | OverloadedError):
            self.found.append(f"{type(command).__name__} was refused with {error!r}")

    def expect(self, number: int, done: asyncio.Future[Outcome], *, behind: bool) -> None:
        """Hear what becomes of a command that was taken.

        Args:
            behind: it was handed in after the order that it is about, in this life of the engine.
        """
        self.taken[number] = True
        done.add_done_callback(lambda future: self._hear(number, behind, future))

    def _hear(self, number: int, behind: bool, done: asyncio.Future[Outcome]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, OutcomeUnknownError):
            self.unknown += 1
        elif error is not None:
            self.found.append(f"{type(self.sent[number]).__name__} failed with {error!r}")
        else:
            self._told(number, behind, done.result())

    def _told(self, number: int, behind: bool, outcome: Outcome) -> None:
        why = self._check(outcome)
        if why:
            self.found.append(why)
        self.waiting.pop(number, None)
        self.acknowledged += 1
        command = self.sent[number]
        if isinstance(command, EngageKillSwitch):
            self.kills[kill_key(command.scope, command.value)] = True
        elif isinstance(command, ReleaseKillSwitch):
            self.kills.pop(kill_key(command.scope, command.value), None)
        key = _key(command)
        if key is None:
            return
        self.overloaded.pop(key, None)
        if isinstance(command, SubmitOrder):
            self._judge_order(key, command, _answer(command, outcome))
        elif isinstance(command, CancelOrder) and behind:
            self._judge_cancel(command, outcome)

    def _judge_order(self, key: Key, command: SubmitOrder, said: str) -> None:
        """The same content gets the first answer, for ever; other content is refused."""
        first = self.contents.get(key)
        if first is not None and key in self.answers and first != command:
            self._counts["clashes_answered"] += 1
            if said != DUPLICATE:
                self.found.append(f"{key} came again with other content and was answered {said!r}")
            return
        if not said or said == DUPLICATE:
            if key in self.answers:
                self.found.append(f"{key} was answered {self.answers[key]}, and then {said!r}")
            return
        self._counts["answered_again"] += key in self.answers
        self.contents.setdefault(key, command)
        answered = self.answers.setdefault(key, said)
        if said != answered:
            self.found.append(f"{key} was answered {answered}, and then {said}")

    def _judge_cancel(self, command: CancelOrder, outcome: Outcome) -> None:
        """A cancel that was handed in after its order finds it."""
        for effect in outcome.effects:
            if isinstance(effect, OrderCancelReject) and effect.reason == CXL_UNKNOWN_ORDER:
                self.found.append(f"cancel {command.cl_ord_id} passed its order {command.orig_cl_ord_id}")

    def lost(self, state: State) -> list[str]:
        """What was acknowledged and is not in the durable state, and what was refused and is."""
        found = []
        for (account, cl_ord_id), said in self.answers.items():
            order_id = state.client_ids.get(account, {}).get(cl_ord_id)
            if order_id != said:
                found.append(
                    f"{cl_ord_id} of {account} was acknowledged as {said}, the journal has {order_id}"
                )
        released = [c for c in self.waiting.values() if isinstance(c, ReleaseKillSwitch)]
        unsure = {kill_key(command.scope, command.value) for command in released}
        found += [
            f"kill switch {key} was engaged, and is not in the journal"
            for key in self.kills
            if key not in state.kills and key not in unsure
        ]
        for account, cl_ord_id in self.overloaded:
            if cl_ord_id in state.client_ids.get(account, {}):
                found.append(f"{cl_ord_id} of {account} was refused for overload, and is in the journal")
        return found


def _key(command: AnyCommand) -> Key | None:
    if isinstance(command, SubmitOrder | CancelOrder | ReplaceOrder):
        return command.account, command.cl_ord_id
    return None


def _answer(command: SubmitOrder, outcome: Outcome) -> str:
    """What a client takes from the answer to a new order: the order's id, or that its id was used before."""
    for effect in outcome.effects:
        if isinstance(effect, ExecutionReport) and effect.cl_ord_id == command.cl_ord_id:
            if effect.code == "duplicate_client_order_id":
                return DUPLICATE
            return "" if effect.order_id == NO_ORDER else effect.order_id
    return ""
