"""Proof by force: processes killed, disks that fail, power cuts; then three records are compared."""
