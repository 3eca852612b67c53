"""The deterministic engine: decide what happens, evolve the state, never both at once."""
