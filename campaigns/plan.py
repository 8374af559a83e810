"""A tenant's plan: changed with all that follows from it, and shown beside what is used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from agenticos import scope
from agenticos.queue import enqueue
from campaigns import daycaps, ledger
from campaigns.models import Campaign, SendingAccount
from tenants import actions, limits
from tenants.models import ApiKey, Membership, Tenant, User


@transaction.atomic
def edit_plan(
    tenant: Tenant, values: dict[str, Any], *, by: User | None, now: datetime, **data: Any
) -> bool:
    """Change what the tenant has bought, any of `limits.FIELDS`; whether anything was different.

    A cap of messages holds at once: what is claimed under another one is not sent under it.
    Accounts that waited for the old cap look again. In the tenant's scope or the system's.
    """
    with scope.as_tenant(tenant):
        changed = actions.edit_plan(tenant, values, by=by, now=now, **data)
        if "max_messages_day" in changed:
            look_again(now)
    return bool(changed)


def look_again(now: datetime) -> None:
    """The accounts of the tenant's running campaigns ask their gates now."""
    running = Campaign.objects.filter(state=Campaign.State.RUNNING)
    ledger.wake(list(running.values_list("pk", flat=True)), now)
    enqueue("campaigns.tasks.send_slice")


@dataclass(frozen=True, slots=True)
class Line:
    """One limit of the plan and what is used of it; `limit` None: none is set."""

    name: str
    used: int
    limit: int | None

    @property
    def full(self) -> bool:
        return self.limit is not None and self.used >= self.limit


def lines(tenant: Tenant, now: datetime) -> list[Line]:
    """What is used of each limit, in the scope of the tenant. Without a plan, nothing."""
    if all(getattr(tenant, name) is None for name in limits.NAMES):
        return []
    today = daycaps.in_force(tenant, (), now).tenant
    used = {
        "max_members": Membership.counted(tenant.pk),
        "max_accounts": SendingAccount.counted(tenant.pk),
        "max_leads": tenant.leads.count(),
        "max_messages_day": today.used if today else daycaps.left_on(tenant, now).count(),
        "max_api_keys": ApiKey.counted(tenant.pk),
    }
    return [
        Line(str(name), used[field], getattr(tenant, field))
        for field, name in limits.NAMES.items()
        if getattr(tenant, field) is not None
    ]
