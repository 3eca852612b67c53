"""Results as JSON-ready mappings: stable names, decimals as plain text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from qtinfra.bootstrap import DemoOutcome, SimulateOutcome, Verification
from qtinfra.core.ports import Head
from qtinfra.engine.routing_analytics import RoutingAnalytics
from qtinfra.journal.export import readable
from qtinfra.runtime.replay import ReplayResult

if TYPE_CHECKING:
    from qtinfra.bootstrap.analysis import CostAnalysis

Facts = dict[str, object]


def _named(value: msgspec.Struct) -> Facts:
    return {field: _plain(getattr(value, field)) for field in value.__struct_fields__}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return _named(value) if isinstance(value, msgspec.Struct) else readable(value)


def simulate_facts(outcome: SimulateOutcome, journal: Path | None) -> Facts:
    """A session with `journal_verified`: its chain and its signed heads, read back from the file."""
    found = outcome.verification
    return {
        **_named(outcome.session),
        "journal_verified": found.ok,
        "journal_anchors": found.anchors,
        "journal_bytes": found.size_bytes,
        "journal": str(journal) if journal is not None else None,
    }


def routing_facts(analytics: RoutingAnalytics) -> Facts:
    """How the routes of a session fared."""
    return {"routing": _named(analytics)}


def demo_facts(outcome: DemoOutcome, costs: CostAnalysis | None) -> Facts:
    """The demonstration, its tables and timeline included; the cost page's path, if there is one."""
    found = outcome.verification
    return {
        **_named(outcome.demo),
        "journal_verified": found.ok,
        "journal_anchors": found.anchors,
        "journal_bytes": found.size_bytes,
        "journal": str(outcome.files.journal),
        "tca_html": str(costs.html) if costs is not None else None,
    }


def replay_facts(journal: Path, result: ReplayResult, recovered: str | None) -> Facts:
    return {"journal": str(journal), **_named(result), "recovered": recovered}


def verify_facts(found: Verification) -> Facts:
    return _named(found)


def head_facts(journal: Path, end: Head, recovered: str | None) -> Facts:
    return {
        "journal": str(journal),
        "shard": end.shard,
        "epoch": end.epoch,
        "seq": end.seq,
        "hash": end.hash.hex(),
        "recovered": recovered,
    }
