"""The programs' way in: JSON under /api/, thin over the very actions that the pages call."""
