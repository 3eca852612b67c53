"""What access control needs of the outside: time, keys, files. The policy itself is `core/security`."""
