"""Smart order routing: where an approved quantity goes."""
