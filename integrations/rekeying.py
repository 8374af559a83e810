"""Replacing tenants' data keys: all that is sealed under one goes under the next, at once.

Connections are the only rows with secrets of a tenant; a test holds `crypto.seal` to them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import OperationalError, transaction

from agenticos import sql
from integrations.models import Connection
from tenants import crypto

logger = logging.getLogger(__name__)

WAIT_S: Final = 0.5  # under PostgreSQL's deadlock_timeout: of two who wait crosswise we give way
TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """How many secrets are under the new key, and how many never opened and stay as they were."""

    sealed: int
    unreadable: int


class _CameMeanwhile(Exception):
    """A connection was added between the look at all of them and the lock of the key."""


def replace_data_key(tenant_id: int, *, now: datetime) -> Rekeyed:
    """Make another data key for the tenant in scope, and seal its secrets anew, in one transaction.

    Safe beside running pages and workers. Raises crypto.CannotOpen when the key itself does not
    open, OperationalError when its rows stay locked.
    """
    for left in reversed(range(TRIES)):
        try:
            with transaction.atomic(), sql.waiting_at_most(WAIT_S):
                return _replace(tenant_id, now)
        except (_CameMeanwhile, OperationalError):
            if not left:
                raise
            logger.info("credential.rekey_waits")
    raise AssertionError  # the loop ends by itself


def _replace(tenant_id: int, now: datetime) -> Rekeyed:
    # Before the tenant's row: whoever changes a connection holds it, then asks for the key.
    rows = list(Connection.objects.select_for_update(of=("self",)).order_by("pk"))
    reseal = crypto.renew_data_key(tenant_id, now=now)
    if Connection.objects.count() != len(rows):
        raise _CameMeanwhile
    unreadable = 0
    with_secret = [row for row in rows if row.secret]
    for row in with_secret:
        try:
            row.reseal(reseal)
        except crypto.CannotOpen:
            unreadable += 1
            logger.warning("credential.unreadable", extra={"connection": row.pk})
    return Rekeyed(len(with_secret) - unreadable, unreadable)
