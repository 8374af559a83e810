"""Rows that a worker holds for a while: the columns of a lease, and who holds one."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.db import models

from agenticos import scope

OWNER_VARIABLE = "AGENTICOS_OWNER"
STOP_VARIABLE = "AGENTICOS_STOP_FILE"
# The columns of a row that nobody holds.
NO_LEASE: Final[dict[str, Any]] = {"claim_token": "", "lease_owner": "", "lease_until": None}


class LeaseLost(Exception):
    """Another worker has taken the row over; nothing was changed."""


class Lease(models.Model):
    """A row that one worker holds until its lease ends.

    Every write of the worker names its `claim_token`, so a worker whose lease was taken over
    changes nothing. `lease_owner` is the worker group, so that a supervisor that has seen a whole
    group die can end its leases at once.
    """

    claim_token = models.CharField(max_length=32, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    lease_owner = models.CharField(max_length=80, blank=True, default="", editable=False)

    class Meta:
        abstract = True


class Leased(Lease):
    """A row of background work: due at a time, tried a number of times."""

    due_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        abstract = True


def new_token() -> str:
    """A fencing token: 32 hex digits, kept as text on every database."""
    return uuid.uuid4().hex


def owner() -> str:
    """The worker group this process belongs to; outside one, this very process."""
    return os.environ.get(OWNER_VARIABLE) or f"{socket.gethostname()}:{os.getpid()}"


def stopping() -> bool:
    """Whether the supervisor asked its workers to come to an end. Read between two sends."""
    path = os.environ.get(STOP_VARIABLE, "")
    return path != "" and os.path.exists(path)


def length() -> timedelta:
    """How long a worker may be silent before others take its rows over."""
    return timedelta(seconds=settings.LEASE_S)


def free(now: datetime) -> models.Q:
    """Rows that nobody holds."""
    return models.Q(lease_until=None) | models.Q(lease_until__lte=now)


def take(row: Lease, *, token: str, now: datetime, **still: Any) -> bool:
    """Hold a row for a while; False when another worker was first, or it is not `still` so."""
    rows = type(row)._default_manager.filter(free(now), pk=row.pk, **still)
    return bool(rows.update(claim_token=token, lease_owner=owner(), lease_until=now + length()))


def give_back(row: Lease, *, token: str, **changes: Any) -> None:
    """Let go of a row that is still held under `token`, for whoever comes next."""
    held = type(row)._default_manager.filter(pk=row.pk, claim_token=token)
    held.update(**NO_LEASE, **changes)


def end_leases(dead_owner: str, now: datetime) -> int:
    """End every lease of a worker group that is known to be dead; return how many rows.

    Only for a caller that has seen the last process of the group go: a living one could still be
    inside a call.
    """
    ended = 0
    with scope.as_system("leases of a dead worker group"):
        for model in apps.get_models():
            if issubclass(model, Lease):
                ended += model._default_manager.filter(
                    lease_owner=dead_owner, lease_until__gt=now
                ).update(lease_until=now)
    return ended
