"""The loopback providers: a process that speaks the real wire formats and counts what it got.

Nothing here imports Django, so that `python -m integrations.sandbox` runs by itself.
"""
