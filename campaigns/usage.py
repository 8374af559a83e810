"""How much of the caps above the accounts' own is taken: the tenant's and the campaign's day.

Days are those of the tenant's zone. A row stands only where such a cap is in force; without one
nothing is counted, and the ledger says what a cap that is set later begins with
(`campaigns.daycaps`).
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from tenants.models import Tenant
from tenants.owned import TenantOwned


class DayUsage(TenantOwned):
    """One day of one cap."""

    period = models.CharField(max_length=10)  # "2026-11-22"
    used = models.IntegerField(default=0)
    # The one that `used` was held against last; NULL: not counted yet.
    cap = models.PositiveIntegerField(null=True)
    # What had left already when counting began: it may be more than the cap.
    counted = models.PositiveIntegerField(default=0)

    class Meta(TenantOwned.Meta):
        abstract = True

    def __str__(self) -> str:
        return f"{self.period}: {self.used} of {self.cap}"


# Never more than the cap, whoever writes: what was there before counting began is no breach.
_KEPT = Q(used__lte=F("cap")) | Q(used__lte=F("counted"))


class TenantUsage(DayUsage):
    """How much of the plan's messages a day is taken."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="day_usage", db_index=False
    )

    class Meta(DayUsage.Meta):
        abstract = False
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "period"], name="tenant_usage_once"),
            models.CheckConstraint(condition=Q(used__gte=0), name="tenant_usage_positive"),
            models.CheckConstraint(condition=_KEPT, name="tenant_usage_kept"),
        ]


class CampaignUsage(DayUsage):
    """How much of a campaign's own day cap is taken."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="campaign_usage", db_index=False
    )
    campaign = models.ForeignKey(
        "campaigns.Campaign", on_delete=models.CASCADE, related_name="day_usage"
    )

    class Meta(DayUsage.Meta):
        abstract = False
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "campaign", "period"], name="campaign_usage_once"
            ),
            models.CheckConstraint(condition=Q(used__gte=0), name="campaign_usage_positive"),
            models.CheckConstraint(condition=_KEPT, name="campaign_usage_kept"),
        ]
