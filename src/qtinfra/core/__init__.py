"""The vocabulary of the system: orders, commands, events, ports, errors. No I/O, clock or randomness."""
