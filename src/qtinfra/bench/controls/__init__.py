"""Servers that the gateway is measured beside: less work on the same machine, or the usual way of it."""
