"""End to end: the demo as `make run` starts it, and people with real browsers (`make e2e`)."""
