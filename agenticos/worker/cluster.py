"""A Django-Q2 cluster that dies as a whole.

A worker that is killed may hold the lock of the task queue, and then nobody ever gets a task
again (django-q2 issue 23); a killed monitor leaves its queue locked in the same way. Only a
timeout and a planned recycling are deaths that leave no lock behind. So any other death ends this
process with code 70, every child dies with its parent, and the supervisor starts a new cluster.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from django_q import cluster

from agenticos import garbage
from agenticos.worker import posix

CRASHED = 70
_PLANNED = (0, -2)  # django_q's timer: timed out, recycled


class CrashOnlySentinel(cluster.Sentinel):  # type: ignore[misc]  # django-q is untyped
    """Starts a process again only after a planned end."""

    def reincarnate(self, process: Any) -> None:
        timer = getattr(process, "timer", None)
        if timer is None or timer.value not in _PLANNED:
            os._exit(CRASHED)
        super().reincarnate(process)


def run(parent_pid: int) -> None:
    """Run a cluster until SIGTERM; exit 0 after a clean stop, 70 after a crash."""
    posix.die_with(parent_pid)
    posix.bind_forks()
    garbage.tune()
    cluster.Sentinel = CrashOnlySentinel
    stack = cluster.Cluster()
    stack.start()
    stack.sentinel.join()
    sys.exit(0 if stack.sentinel.exitcode == 0 else CRASHED)
