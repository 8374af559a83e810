"""Moves this process's wall clock by the seconds in the file CHAOS_CLOCK names.

Python imports it at the start of every process that has this folder on its path. The clock that
counts (CLOCK_BOOTTIME) and the database's are left alone, as they are when a real clock is wrong.
"""

import os
import time
from datetime import timedelta

_path = os.environ.get("CHAOS_CLOCK", "")
_real = time.time
_read_at, _offset = 0.0, 0.0


def _seconds() -> float:
    """The offset, read again at most five times a second."""
    global _read_at, _offset
    if _real() - _read_at > 0.2:
        _read_at = _real()
        try:
            with open(_path, encoding="ascii") as file:
                _offset = float(file.read() or 0)
        except (OSError, ValueError):
            pass  # it is just being written: the one before holds
    return _offset


if _path:
    from django.utils import timezone

    _now = timezone.now
    time.time = lambda: _real() + _seconds()
    timezone.now = lambda: _now() + timedelta(seconds=_seconds())
