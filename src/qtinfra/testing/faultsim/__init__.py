"""Deterministic fault simulation: the real engine, journal and gateways in a world that fails on command."""

from qtinfra.testing.faultsim.planted import PLANTED, PlantedBug, PlantedResult, look_for, run_planted
from qtinfra.testing.faultsim.run import Failure, RunResult, SeedReport, play, run_seed, run_seeds
from qtinfra.testing.faultsim.script import Action, Script
from qtinfra.testing.faultsim.shrink import shrink

__all__ = [
    "PLANTED",
    "Action",
    "Failure",
    "PlantedBug",
    "PlantedResult",
    "RunResult",
    "Script",
    "SeedReport",
    "look_for",
    "play",
    "run_planted",
    "run_seed",
    "run_seeds",
    "shrink",
]
