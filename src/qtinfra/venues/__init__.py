"""Gateways to venues, and the venues that we simulate."""
