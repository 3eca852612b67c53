"""What a process that serves sets for itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: How long a thread computes on while another one waits for the interpreter. The thread that comes back from
#: a disk's sync waits for it while the loop decides: Python's own 5 ms would be many times the sync itself.
SWITCH_INTERVAL_S = 0.0002


@contextmanager
def prompt_threads() -> Iterator[None]:
    """While the block runs, a thread that waits for the interpreter gets it soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
