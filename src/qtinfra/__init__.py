"""An order and execution management system with one deterministic, journaled core."""

__version__ = "0.1.0"
