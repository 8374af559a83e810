"""A database that does not answer must not take the web server with it.

libpq waits for an answer for ever, and limits set on the server do not help when the server is
the one that hangs. So in a web process each wait on PostgreSQL has an end here, and while the
database is known not to answer, requests are turned away before they touch it. Workers keep
waiting: they have nothing better to do, and their leases guard the rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from django.db import InterfaceError, OperationalError
from psycopg.errors import _WaitTimeout

PATIENCE_S: Final = 6.0  # above the longest honest statement of a page
LOOK_EVERY_S: Final = 0.5  # how often who waits looks whether others have seen it silent
AGAIN_AFTER_S: Final = 2.0  # how long requests are turned away after a wait that ran out

_own = threading.local()
_closed_until = 0.0


def is_on() -> bool:
    """Whether the database is known not to answer at this moment."""
    return time.monotonic() < _closed_until


def note(answers: bool) -> None:
    """Note what somebody has just seen: the database answers, or it does not."""
    global _closed_until
    _closed_until = 0.0 if answers else time.monotonic() + AGAIN_AFTER_S


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let this thread's waits end after so long, instead of PATIENCE_S."""
    before = getattr(_own, "patience", None)
    _own.patience = seconds
    try:
        yield
    finally:
        _own.patience = before


def limit(sender: Any, connection: Any, **signal: Any) -> None:
    """Give a new connection's waits an end. Connected to Django's `connection_created`."""
    if isinstance(connection.connection, psycopg.Connection):
        bound(connection.connection, PATIENCE_S)


def bound(link: psycopg.Connection[Any], seconds: float) -> None:
    """Let every wait on this connection end after so long, or what `patience` says.

    Without `patience` it also ends soon after somebody else has seen that the database is silent:
    a server's threads are few.
    """
    plain = link.wait

    def wait(gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None:
            return plain(gen, interval, timeout)
        own: float | None = getattr(_own, "patience", None)
        ends = time.monotonic() + (own or seconds)
        while (left := ends - time.monotonic()) > 0:
            try:
                return plain(gen, interval, min(left, LOOK_EVERY_S))
            except _WaitTimeout:
                if own is None and is_on():
                    break
        # The answer may still come, to whoever asks next: this connection is over.
        link.pgconn.finish()
        note(answers=False)
        raise psycopg.OperationalError("the database did not answer in time")

    link.wait = wait  # type: ignore[method-assign]  # replaced on purpose


def refuse_to_connect() -> None:
    """Raise psycopg.OperationalError while the database is known to be silent.

    Not for who has a `patience` of its own: the pulse and the probes see it come back.
    """
    if is_on() and getattr(_own, "patience", None) is None:
        raise psycopg.OperationalError("the database does not answer at this moment")


# What PostgreSQL says when it is going down, full, or gone, or when a statement took too long or
# waited too long for somebody else's lock.
_OUT = ("08", "53", "57", "55P03")


def caused(error: BaseException | None) -> bool:
    """Whether an error means that the database is out of reach, not that we asked wrongly."""
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    cause = error.__cause__
    return isinstance(cause, psycopg.Error) and (cause.sqlstate or "08").startswith(_OUT)
