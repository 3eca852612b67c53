"""`python -m qtinfra.bench`."""

from __future__ import annotations

from qtinfra.bench.registry import main

raise SystemExit(main())
