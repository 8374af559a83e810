"""The garbage collector of a long process."""

from __future__ import annotations

import gc


def tune() -> None:
    """Fit the collector to a process that serves for long, or forks; called once all is loaded.

    What was imported is never garbage: frozen, it is neither looked through again, which would
    hold up a page by a tenth of a second now and then, nor copied by a collection in a child. What
    a page or a slice makes dies by reference count; cycles are rare, so they are looked for rarely.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
