"""Making a failing script short: delta debugging over its actions.

Source: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE Transactions on
Software Engineering 28(2), 2002 (ddmin, complements only).
"""

from __future__ import annotations

from collections.abc import Callable

from qtinfra.testing.faultsim.script import Action, Script

#: Runs spent on one script at most.
MOST_RUNS = 400


def shrink(script: Script, fails: Callable[[Script], bool], most_runs: int = MOST_RUNS) -> Script:
    """The script with as many actions left out as the failure survives.

    Args:
        script: one that fails.
        fails: whether a script still does.
        most_runs: bound of the search; what was reached by then is returned.
    """
    actions = script.actions
    pieces, runs = 2, 0
    while len(actions) > 1 and runs < most_runs:
        size = max(1, len(actions) // pieces)
        for start in range(0, len(actions), size):
            rest = _without(actions, start, size)
            runs += 1
            if rest and fails(script.with_actions(rest)):
                actions, pieces = rest, max(2, pieces - 1)
                break
            if runs >= most_runs:
                break
        else:
            if size == 1:
                break
            pieces = min(len(actions), pieces * 2)
    return script.with_actions(actions)


def _without(actions: tuple[Action, ...], start: int, size: int) -> tuple[Action, ...]:
    """The actions but a stretch; the next one waits as long as all that were left out."""
    left_out = actions[start : start + size]
    rest = actions[start + size :]
    if rest:
        waited = sum(action.wait_us for action in left_out)
        rest = (Action(rest[0].kind, rest[0].wait_us + waited, rest[0].whim), *rest[1:])
    return (*actions[:start], *rest)
