"""The endpoints outside order entry, one module per subject."""
