"""What a process that serves sets once for itself."""

from __future__ import annotations

import sys

#: How long a thread computes while another one waits for the interpreter. The thread that comes back from a
#: disk's sync waits for it while the loop decides: Python's own 5 ms would be longer than the sync itself.
SWITCH_INTERVAL_S = 0.0005


def prompt_threads() -> None:
    """For whoever starts the process: let waiting threads have the interpreter soon."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
