"""The gateway: REST over one engine, order entry on its own short path."""
