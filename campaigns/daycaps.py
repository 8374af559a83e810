"""The caps of a day above the accounts' own: the tenant's plan and the campaign's cap.

Both count days of the tenant's zone. Without such a cap nothing is counted and nothing is asked.
Where one is in force, the claim takes its allowance from one row per cap and day, locked until
the claim commits, so workers together never take more than there is. A row that is missing, or
was held against another cap, begins with what the ledger says of that day: a cap holds from the
moment in which it is set, whatever left before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Greatest

from campaigns import pacing
from campaigns.gates import DayCap
from campaigns.models import Campaign, CampaignUsage, Message, TenantUsage
from tenants.models import Tenant

UNLIMITED: Final = 10**9
# States in which a row has used its allowance, or may have.
_COUNTS: Final = (Message.State.CLAIMED, Message.State.SENT, Message.State.UNKNOWN)


@dataclass(slots=True)
class DayCaps:
    """The caps in force on one day, each with what is used of it."""

    day: str
    tenant: DayCap | None = None
    campaigns: dict[int, DayCap] = field(default_factory=dict)
    # Some of them were counted from the ledger: their rows are still to be written.
    counted: bool = False

    @property
    def any(self) -> bool:
        return self.tenant is not None or bool(self.campaigns)

    def room(self, campaign_id: int) -> int:
        """How many messages of the campaign they still allow."""
        caps = (self.tenant, self.campaigns.get(campaign_id))
        return min((cap.room for cap in caps if cap is not None), default=UNLIMITED)

    def take(self, campaign_id: int) -> None:
        """Reckon with one more message of the campaign."""
        if self.tenant is not None:
            self.tenant = DayCap(self.tenant.cap, self.tenant.used + 1)
        if cap := self.campaigns.get(campaign_id):
            self.campaigns[campaign_id] = DayCap(cap.cap, cap.used + 1)


def in_force(tenant: Tenant, campaigns: Iterable[Campaign], now: datetime) -> DayCaps:
    """The day caps of a tenant and of these campaigns of it; no query where there are none."""
    found = DayCaps(pacing.day_period(now, tenant.zone))
    if (cap := tenant.max_messages_day) is not None:
        row = TenantUsage.objects.filter(tenant=tenant, period=found.day).first()
        if row is None or row.cap != cap:
            found.counted = True
            found.tenant = DayCap(cap, left_on(tenant, now).count())
        else:
            found.tenant = DayCap(cap, row.used)
    capped = {row.pk: row.day_cap for row in campaigns if row.day_cap is not None}
    if not capped:
        return found
    rows = {
        row.campaign_id: row
        for row in CampaignUsage.objects.filter(campaign__in=capped, period=found.day)
    }
    used = {pk: row.used for pk, row in rows.items() if row.cap == capped[pk]}
    if missing := capped.keys() - used.keys():
        found.counted = True
        left = left_on(tenant, now).filter(campaign__in=missing).order_by()
        used |= dict(left.values_list("campaign").annotate(Count("pk")))
    found.campaigns = {pk: DayCap(cap, used.get(pk, 0)) for pk, cap in capped.items()}
    return found


def left_on(tenant: Tenant, now: datetime) -> QuerySet[Message]:
    """The messages that have used, or hold, their allowance of today, in the tenant's zone."""
    ends = pacing.next_day(now, tenant.zone)
    begins = pacing.next_day(ends - timedelta(hours=30), tenant.zone)
    skipped = Q(state=Message.State.SKIPPED, dispatched_at__isnull=False)
    return Message.objects.filter(
        Q(state__in=_COUNTS) | skipped,
        tenant=tenant,
        claimed_at__gte=begins,
        claimed_at__lt=ends,
    )


def take(tenant: Tenant, caps: DayCaps, wanted: Sequence[int], now: datetime) -> list[bool]:
    """Take a message's allowance for each of these campaigns, in turn; which of them got it.

    `caps` are those of `in_force`, and their campaigns are held by the caller. Comes after the
    locks on messages and before those on the accounts' usage.
    """
    if not caps.any or not (wanted or caps.counted):
        return [True] * len(wanted)
    whole = _tenant_row(tenant, caps, now)
    rows = _campaign_rows(tenant, caps, set(wanted), now)
    got, changed = [], set()
    for campaign_id in wanted:
        of_it = [row for row in (whole, rows.get(campaign_id)) if row is not None]
        fits = all(row.cap is not None and row.used < row.cap for row in of_it)
        got.append(fits)
        for row in of_it if fits else ():
            row.used += 1
            changed.add(row)
    for row in changed:
        row.save(update_fields=["used"])
    return got


def _tenant_row(tenant: Tenant, caps: DayCaps, now: datetime) -> TenantUsage | None:
    if caps.tenant is None:
        return None
    here = TenantUsage.objects.filter(period=caps.day).select_for_update()
    row = here.first()
    if row is None:
        fresh = TenantUsage(tenant=tenant, period=caps.day)
        TenantUsage.objects.bulk_create([fresh], ignore_conflicts=True)
        row = here.get()
    _bring_in_step(row, caps.tenant.cap, left_on(tenant, now))
    return row


def _campaign_rows(
    tenant: Tenant, caps: DayCaps, wanted: set[int], now: datetime
) -> dict[int, CampaignUsage]:
    asked = [pk for pk in sorted(caps.campaigns) if pk in wanted or caps.counted]
    if not asked:
        return {}
    here = (
        CampaignUsage.objects.filter(campaign__in=asked, period=caps.day)
        .order_by("campaign_id")
        .select_for_update()
    )
    rows = list(here)
    if len(rows) < len(asked):
        CampaignUsage.objects.bulk_create(
            [CampaignUsage(tenant=tenant, campaign_id=pk, period=caps.day) for pk in asked],
            ignore_conflicts=True,
        )
        rows = list(here.all())
    for row in rows:
        counted = left_on(tenant, now).filter(campaign=row.campaign_id)
        _bring_in_step(row, caps.campaigns[row.campaign_id].cap, counted)
    return {row.campaign_id: row for row in rows}


def _bring_in_step(row: TenantUsage | CampaignUsage, cap: int, left: QuerySet[Message]) -> None:
    """Hold a locked row against the cap in force; one that was not is counted anew."""
    if row.cap == cap:
        return
    row.cap, row.counted = cap, left.count()
    row.used = row.counted
    row.save(update_fields=["cap", "counted", "used"])


def give_back(allowance: Counter[tuple[int, str]]) -> None:
    """Return what was taken and not used; each key is a campaign and the day it was taken on.

    Where no such cap counted, there is nothing to return. Locks in the order of `take`.
    """
    days: Counter[str] = Counter()
    for (_, day), number in allowance.items():
        days[day] += number
    for day, number in sorted(days.items()):
        TenantUsage.objects.filter(period=day).update(used=Greatest(F("used") - number, 0))
    for (campaign_id, day), number in sorted(allowance.items()):
        CampaignUsage.objects.filter(campaign=campaign_id, period=day).update(
            used=Greatest(F("used") - number, 0)
        )
