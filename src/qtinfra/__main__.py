"""`python -m qtinfra` is the command line."""

from qtinfra.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
