"""The composition root: the only place where concrete classes meet.

`sessions` puts together what a person can ask for at the command line, `serving` the server. Nothing
connects, reads the environment or starts a thread at import.
"""

from qtinfra.bootstrap.sessions import (
    ANCHOR_EVERY_EVENTS,
    SYNTHETIC_SYMBOLS,
    DemoOutcome,
    Evidence,
    Recorder,
    SimulateOutcome,
    Verification,
    demo,
    export,
    exported,
    head,
    installed_routing,
    installed_strategies,
    journal_kind,
    public_key,
    reading,
    recording,
    replay,
    simulate_lobster,
    simulate_nbbo,
    simulate_synthetic,
    synthetic_market,
    verify,
)

__all__ = [
    "ANCHOR_EVERY_EVENTS",
    "SYNTHETIC_SYMBOLS",
    "DemoOutcome",
    "Evidence",
    "Recorder",
    "SimulateOutcome",
    "Verification",
    "demo",
    "export",
    "exported",
    "head",
    "installed_routing",
    "installed_strategies",
    "journal_kind",
    "public_key",
    "reading",
    "recording",
    "replay",
    "simulate_lobster",
    "simulate_nbbo",
    "simulate_synthetic",
    "synthetic_market",
    "verify",
]
