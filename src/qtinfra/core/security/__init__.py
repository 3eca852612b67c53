"""Who is asking and what he may do: pure policy, without time, keys or I/O (those are `infra/security`)."""
