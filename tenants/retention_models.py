"""How long a tenant keeps things, and how far the sweep that ends it has come."""

from __future__ import annotations

from typing import Any, Final

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from agenticos.leasing import Lease
from tenants.owned import TenantOwned

# Field → the fewest and the most days. Exactly these may be changed by a tenant's owner.
BOUNDS: Final = {
    "keep_payload_days": (7, 365),
    "keep_file_days": (1, 90),
    "keep_lead_days": (30, 3650),
    "keep_audit_days": (365, 3650),
}


def _days(field: str, default: int, label: Any, help_text: Any) -> Any:
    least, most = BOUNDS[field]
    return models.PositiveSmallIntegerField(
        label,
        default=default,
        db_default=default,  # code of before these columns goes on writing tenants meanwhile
        validators=[MinValueValidator(least), MaxValueValidator(most)],
        help_text=help_text,
    )


def bounds_hold() -> Q:
    """The condition that every period is within its bounds: the sweep deletes by it."""
    held = Q()
    for field, (least, most) in BOUNDS.items():
        held &= Q(**{f"{field}__gte": least, f"{field}__lte": most})
    return held


class Keeping(models.Model):
    """The periods of a tenant, in days. What is older goes, see tenants/retention.py."""

    keep_payload_days = _days(
        "keep_payload_days",
        30,
        _("raw data, days"),
        _("Rows of imports as they came, with what an undo needs, and what was sent to the CRM."),
    )
    keep_file_days = _days(
        "keep_file_days",
        7,
        _("files, days"),
        _("Files of imports and exports, and imports that nobody finished."),
    )
    keep_lead_days = _days(
        "keep_lead_days",
        365,
        _("leads without contact, days"),
        _("Counted from the last change of a lead that no message ever reached."),
    )
    keep_audit_days = _days(
        "keep_audit_days",
        730,
        _("audit trail, days"),
        _("What is left of the trail can still be verified."),
    )

    class Meta:
        abstract = True


class RetentionRun(Lease, TenantOwned):
    """The sweep of one tenant: where it is, what it has removed so far, and its last report."""

    tenant = models.OneToOneField(
        "tenants.Tenant", on_delete=models.CASCADE, related_name="retention_run"
    )
    due_at = models.DateTimeField()
    # The checkpoint: the step, and the last row of it that was looked at. Empty between two runs.
    step = models.CharField(max_length=40, blank=True, default="")
    cursor = models.BigIntegerField(default=0)
    removed = models.JSONField(default=dict)  # kind → how many, since the last report
    done_at = models.DateTimeField(null=True, blank=True)
    report = models.JSONField(default=dict)  # the same, of the run that ended at `done_at`

    class Meta(TenantOwned.Meta):
        indexes = [
            # Whose turn is it? Across all tenants, so it begins with the time.
            models.Index(fields=["due_at"], name="retention_due")
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.step or self.done_at}"
