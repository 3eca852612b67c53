"""Venues that really match: synthetic markets and recorded ones, in process or as a process of their own."""
