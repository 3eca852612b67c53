"""Running the engine: the loop that joins inbox, kernel, journal and effects; live, replay and simulation."""
