"""Execution algorithms as pure planners: inputs in, a schedule of whole lots out."""
