"""Bonds between processes: a child that dies with its parent, and orphans that come back.

Linux has both in prctl(2). Elsewhere a thread watches the parent, and orphans are left to init.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ORPHAN_EXIT = 70


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def die_with(parent_pid: int) -> None:
    """Make sure that this process does not outlive `parent_pid`, its parent."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:  # it died before the bond was made
        os._exit(_ORPHAN_EXIT)


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def bind_forks() -> None:
    """From now on every forked child of this process, and its children, dies with its parent."""
    parent = [os.getpid()]
    os.register_at_fork(
        before=lambda: parent.__setitem__(0, os.getpid()),
        after_in_child=lambda: die_with(parent[0]),
    )


def adopt_orphans() -> None:
    """Become the parent of orphaned grandchildren, so that `group_is_gone` can reap them."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left; reaps those that are ours."""
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # a new group of somebody else's has taken the number
        return True
    return False
