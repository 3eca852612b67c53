"""After the trade: what execution cost, and what must be told about it."""
