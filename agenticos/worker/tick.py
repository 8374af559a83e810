"""The tick: whatever is due is rung for. A lost or refused ring costs one tick, nothing else."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from agenticos import queue, scope

logger = logging.getLogger(__name__)


def ring_for_due(now: datetime, *, grace: timedelta = queue.GRACE) -> list[str]:
    """Ring for every task that is overdue and not rung for yet; return their names."""
    with scope.as_nobody():
        overdue = [
            task
            for task, next_at in queue.wake_ups()
            if (due := next_at()) is not None and due <= now - grace
        ]
        if not overdue:
            return []
        rung = [task for task in overdue if task not in queue.waiting()]
        for task in rung:
            queue.enqueue(task)
    return rung
