"""What is known of one person, for that person: their data and nobody else's."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction

from integrations.models import ExternalId, SyncItem
from leads import drafts, scoring, suppression
from leads.erasing import modules
from leads.models import BulkRow, ImportedLead, Lead
from tenants import audit
from tenants.models import User


@transaction.atomic
def export_subject(lead: Lead, *, by: User | None, now: datetime) -> dict[str, Any]:
    """All that is kept of a lead, as plain values for JSON. That it was asked for is audited.

    Who in the team did something is left out: it is their data.
    """
    key = f"lead:{lead.pk}"
    found: dict[str, Any] = {
        "made_at": now,
        "workspace": lead.tenant.name,
        "profile": {
            "handle": lead.handle,
            **{name: getattr(lead, name) for name in drafts.COLUMNS},
            "instagram_scoped_id": lead.instagram_scoped_id,
            "source": lead.source,
            "created_at": lead.created_at,
            "updated_at": lead.updated_at,
            "first_touch_at": lead.first_touch_at,
            "suppressed_at": lead.suppressed_at,
        },
        "tags": list(lead.tags.order_by("name").values_list("name", flat=True)),
        "scores": [
            {
                "version": score.version.number,
                "total": score.total,
                "band": score.band,
                "eligible": score.eligible,
                "criteria": [
                    {
                        "criterion": line.criterion,
                        "points": line.points,
                        "of": line.maximum,
                        "evidence": line.evidence,
                    }
                    for line in scoring.from_compact(score.breakdown)
                ],
            }
            for score in lead.scores.select_related("version").order_by("version__number")
        ],
        "suppressions": [
            {"kind": one.kind, "reason": one.reason, "since": one.created_at}
            for one in suppression.reasons_of(lead)
        ],
        "imports": [
            {
                "file": row.lead_import.file_name,
                "at": row.at,
                "fate": row.fate,
                "before": row.before,
                "after": row.after,
            }
            for row in ImportedLead.objects.filter(lead=lead)
            .select_related("lead_import")
            .order_by("pk")
        ],
        "jobs": list(
            BulkRow.objects.filter(lead=lead)
            .order_by("pk")
            .values("job__kind", "outcome", "job__created_at")
        ),
        "crm": {
            "contacts": list(
                ExternalId.objects.filter(key=key)
                .exclude(external_id="")
                .values_list("external_id", flat=True)
            ),
            "sent": list(
                SyncItem.objects.filter(key=key).order_by("pk").values("wanted", "state", "done_at")
            ),
        },
    }
    for module in modules():
        found |= module.export(lead)
    audit.record(lead, "lead.subject_exported", by=by)
    return found


def as_json(found: dict[str, Any]) -> str:
    """An export as text that people can read."""
    return json.dumps(found, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2)
