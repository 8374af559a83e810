"""What the workers run for the post office."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings

from agenticos import queue
from agenticos.clock import Clock
from agenticos.leasing import stopping
from integrations import syncing
from integrations.syncing import next_sync_at

__all__ = ["next_sync_at", "sync_slice"]

SYNC: Final = "integrations.tasks.sync_slice"


def sync_slice() -> None:
    """Deliver due contacts for a while. Safe to run twice, and beside itself."""
    clock = Clock()
    syncing.Slice(
        clock,
        budget_s=settings.SLICE_BUDGET_S,
        others_wait=lambda: bool(queue.waiting() - {SYNC}),
    ).run()
    due = next_sync_at()
    soon = clock.now() + timedelta(seconds=1)
    if due is not None and due <= soon and not stopping() and SYNC not in queue.waiting():
        queue.enqueue(SYNC)
