"""The last check of a tenant's invariants: asked for on the operations page, done by a worker."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import models
from django.db.models import Min, Q
from django.utils.translation import gettext_lazy as _

from agenticos import queue
from agenticos.clock import OVERDUE
from agenticos.leasing import Lease
from tenants.models import Tenant
from tenants.owned import TenantOwned

TASK: Final = "agenticos.checking.check_slice"
# What has been checked once is checked again by itself, so that a break is not found years later.
AGAIN_AFTER: Final = timedelta(days=1)


class Checkup(Lease, TenantOwned):
    """What a check of all invariants found in this tenant's rows; one row per tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    asked_at = models.DateTimeField(null=True, blank=True)  # None: nobody waits for one
    done_at = models.DateTimeField(null=True, blank=True)
    took_ms = models.PositiveIntegerField(default=0)
    # [{"name", "sentence", "look", "violations"}, …]; violations null: it could not be counted.
    results = models.JSONField(default=list)

    class Meta(TenantOwned.Meta):
        verbose_name = _("check of the invariants")
        verbose_name_plural = _("checks of the invariants")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant"], name="checkup_once"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.done_at or 'never'}"


def ask(tenant: Tenant, now: datetime) -> None:
    """Have the tenant's invariants checked by a worker; asking again meanwhile changes nothing."""
    Checkup.objects.get_or_create(tenant=tenant)
    if Checkup.objects.filter(asked_at=None).update(asked_at=now):
        queue.enqueue(TASK)


def due(now: datetime) -> Q:
    """The checks that somebody waits for, or that are a day old."""
    return Q(asked_at__isnull=False) | Q(done_at__lte=now - AGAIN_AFTER)


def next_at() -> datetime | None:
    """When the next check is due. In the system scope."""
    free = Q(lease_until=None)
    first = Checkup.objects.aggregate(
        asked=Min("asked_at", filter=free),
        done=Min("done_at", filter=free),
        held=Min("lease_until"),
    )
    if first["asked"]:
        return OVERDUE
    again = first["done"] + AGAIN_AFTER if first["done"] else None
    return min(filter(None, (again, first["held"])), default=None)
