"""The sender of a paced benchmark: a process of its own that writes lines to a socket at their times.

It reads the lines from a file, says "ready", reads the moment at which the first one is due, and writes each
when it is due, those that are due together in one piece. At the end it says how late it was itself. It is
started by its path and imports nothing of ours, so that it starts at once.
"""

from __future__ import annotations

import json
import socket
import sys
import time

#: Longest sleep, in seconds: the pace is kept to about this.
_NAP_S = 0.0001


def send_at_pace(lines: list[bytes], to: socket.socket, start_ns: int, gap_ns: float) -> list[float]:
    """Send line `n` at `start_ns + n * gap_ns` of the monotonic clock, or as soon after it as possible.

    Returns:
        How late each was handed over, in microseconds.
    """
    late_us: list[float] = []
    sent = 0
    while sent < len(lines):
        now = time.monotonic_ns()
        due = min(len(lines), int((now - start_ns) / gap_ns) + 1) if now >= start_ns else 0
        if due > sent:
            late_us += [(now - start_ns - number * gap_ns) / 1_000 for number in range(sent, due)]
            to.sendall(b"".join(lines[sent:due]))
            sent = due
        time.sleep(_NAP_S)
    return late_us


def main(arguments: list[str]) -> None:
    """FILE DESCRIPTOR GAP_NS: send the file's lines over the socket, and write what became of it as JSON."""
    name, descriptor, gap_ns = arguments
    with open(name, "rb") as file:
        lines = file.readlines()
    with socket.socket(fileno=int(descriptor)) as to:
        _say("ready")
        late_us = sorted(send_at_pace(lines, to, int(sys.stdin.readline()), float(gap_ns)))
    at = len(late_us) - 1
    _say(json.dumps({"p50_us": late_us[at // 2], "p99_us": late_us[at * 99 // 100]}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
