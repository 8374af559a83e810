"""A thread of the web process: looks whether the database answers, and hands over its counts."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, InterfaceError, connection
from django.db.backends.signals import connection_created

from agenticos import measures, outage
from agenticos.clock import database_now

logger = logging.getLogger(__name__)
EVERY_S = 1.0
PATIENCE_S = 2.0


_starting = threading.Lock()
_started = False


def start() -> None:
    """Begin, once per process; again it does nothing. The process that forks must not."""
    global _started
    with _starting:
        if _started:
            return
        _started = True
    connection_created.connect(outage.limit, dispatch_uid="outage")
    threading.Thread(target=_beat, name="pulse", daemon=True).start()


def _beat() -> None:
    handed_at = time.monotonic()
    was_out = False
    while True:
        try:
            with outage.patience(PATIENCE_S):
                database_now()
                outage.note(answers=True)
                if time.monotonic() - handed_at > measures.EVERY_S:
                    handed_at = time.monotonic()
                    measures.flush()
        except (DatabaseError, InterfaceError) as error:
            outage.note(answers=False)
            if not was_out:
                logger.error("database.silent: %s", type(error).__name__)
            was_out = True
            connection.close()
        except Exception:  # it is the only one who can see the database come back
            logger.exception("pulse failed")
        else:
            if was_out:
                logger.warning("database.back")
            was_out = False
        time.sleep(EVERY_S)
