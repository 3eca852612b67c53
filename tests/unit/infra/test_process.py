"""A serving process hands the interpreter over soon, and another process's setting is not touched."""

import sys

import pytest

from qtinfra.infra.process import SWITCH_INTERVAL_S, prompt_threads

pytestmark = pytest.mark.unit


def test_threads_are_prompt_while_the_block_runs_and_as_before_afterwards() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), prompt_threads():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        raise KeyError
    assert sys.getswitchinterval() == before > SWITCH_INTERVAL_S
