"""Several values seen as one, to compare with what they should be in one assertion."""


def facts(*values: object) -> tuple[object, ...]:
    """The values as a tuple of anything, so that exact numbers compare with plain ones."""
    return values
