"""The garbage collector of a long process."""

from __future__ import annotations

import gc


def tune(*, recycled: bool = True) -> None:
    """Fit the collector to a process that serves for long, or forks; called once all is loaded.

    What was imported is never garbage: frozen, it is neither looked through again, which would
    hold up a page by a tenth of a second now and then, nor copied by a collection in a child. What
    a page or a slice makes dies by reference count; cycles are rare, so they are looked for rarely:
    in a process that is not recycled often enough that they do not add up, which costs
    milliseconds, since there is little that is not frozen.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*((100_000, 20, 50) if recycled else (10_000, 10, 10)))
