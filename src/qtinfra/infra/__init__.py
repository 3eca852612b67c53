"""What the core is connected to: clocks, and later configuration, logging and observability."""
