"""How long a statement may take and wait, by what is running: a page, a worker's task, a command.

The database is told together with the scope (`agenticos/postgres/base.py`), in each transaction: a
pooler drops what a connection asks for at its start. A single look-up of no tenant outside any
transaction (a session, a person) is not worth two trips more. Commands may take their time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

NONE: Final[Mapping[str, str]] = {}
PAGE: Final[Mapping[str, str]] = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "15s",
}
# A worker waits inside no transaction but computes in some. One that is frozen in the middle lets
# its locks go after a minute. A slice that gives up a lock loses its lease's time: it waits longer.
TASK: Final[Mapping[str, str]] = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}

_current: ContextVar[Mapping[str, str]] = ContextVar("limits", default=NONE)


def current() -> Mapping[str, str]:
    """The database's settings in force, by name."""
    return _current.get()


@contextmanager
def within(limits: Mapping[str, str]) -> Iterator[None]:
    """Run under these limits."""
    token = _current.set(limits)
    try:
        yield
    finally:
        _current.reset(token)
