"""The algo runtime: from a parent's schedule and the market to slices, cancels and an end."""
