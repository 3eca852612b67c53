"""Pre-trade risk: one function per control, each naming its rule."""
