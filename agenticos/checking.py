"""What the queue rings for invariants: a tenant's checks, counted apart from any request."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from agenticos import invariants, leasing, logs, queue, scope
from agenticos.clock import Clock
from campaigns import checkups
from campaigns.checkups import Checkup

logger = logging.getLogger(__name__)


def check_slice() -> None:
    """Check the invariants of the tenants that wait for it, one tenant after the other."""
    clock = Clock()
    while clock.elapsed() < settings.SLICE_BUDGET_S and not leasing.stopping():
        token = leasing.new_token()
        now = clock.now()
        with scope.as_system("checks of invariants that are due"):
            row = Checkup.objects.filter(checkups.due(now) & leasing.free(now)).first()
            if row is None:
                return
            taken = leasing.take(row, token=token, now=now)
        if taken:
            with scope.as_tenant(row.tenant_id):
                _check(row, token, clock)
            logs.count(done=1)
    if not leasing.stopping():
        queue.enqueue(checkups.TASK)


def _check(row: Checkup, token: str, clock: Clock) -> None:
    """Count every invariant's violations in one tenant. Half a check is thrown away."""
    began = clock.elapsed()
    results = []
    for invariant in invariants.INVARIANTS:
        renewed = Checkup.objects.filter(pk=row.pk, claim_token=token).update(
            lease_until=clock.now() + leasing.length()
        )
        if not renewed:
            return  # another worker took it over
        if leasing.stopping():
            leasing.give_back(row, token=token)
            return
        results.append(_result(invariant))
    broken = [one["name"] for one in results if one["violations"]]
    if broken:
        logger.error("invariants.violated", extra={"kind": ",".join(broken)})
    leasing.give_back(
        row,
        token=token,
        asked_at=None,
        done_at=clock.now(),
        took_ms=round(1000 * (clock.elapsed() - began)),
        results=results,
    )


def _result(invariant: invariants.Invariant) -> dict[str, Any]:
    try:
        violations: int | None = invariant.count(False)
    except DatabaseError:  # such as a statement that took a minute: that is a finding, too
        logger.exception("invariants.not_counted")
        violations = None
    return {
        "name": invariant.name,
        "sentence": invariant.sentence,
        "look": invariant.look,
        "violations": violations,
    }


def next_check_at() -> datetime | None:
    """When a tenant's check is next due."""
    with scope.as_system("when the next check is due"):
        return checkups.next_at()
