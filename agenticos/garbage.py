"""The memory of a long process: the garbage collector, and the C library's heaps."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8  # glibc, malloc.h
_ARENAS: Final = 2


def tune(*, recycled: bool = True) -> None:
    """Fit memory to a process that serves for long, or forks; called once all is loaded.

    What was imported is never garbage: frozen, it is neither looked through again, which would
    hold up a page by a tenth of a second now and then, nor copied by a collection in a child. What
    is left are a slice's or a page's own objects. Most die by reference count; a worker looks
    rarely for circles among the others, since it is recycled. A process that is not would grow:
    related rows refer to each other, and where eight pages are made at once a collection in one
    thread makes the others' rows old, which die later. So there old ones are looked at often, which
    takes milliseconds. Such a process also has threads, to be started after this call: see
    `_share_heaps`.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*((100_000, 20, 50) if recycled else (5_000, 3, 3)))
    if not recycled:
        _share_heaps()


def _share_heaps() -> None:
    """Have threads share two heaps; glibc would give nearly each its own.

    In each of those the largest page that its thread ever made leaves gaps that no other thread
    can use: a web process grew by 2 KB a page, through 3 600 pages. They wait for each other at
    Python's own lock anyway. Other C libraries have no such heaps, or no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
