"""The vocabulary of the system: orders, commands, events, ports and errors. No I/O, no clock, no randomness."""
