"""Breaks what can break while the whole system works, and counts at the provider: `make chaos`."""
