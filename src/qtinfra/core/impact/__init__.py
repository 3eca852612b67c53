"""Models of what trading costs: schedules, market impact, queues, and the estimate made of them.

All are pure functions of floats: what leaves for the engine are integer lots (`strategies.schedule`),
journaled and never recomputed. Every formula stands with its source in docs/reference/execution-models.md.
"""
