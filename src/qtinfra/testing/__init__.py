"""For those who test qtinfra or build on it: the conformance runner and its rigs."""
