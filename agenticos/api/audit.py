"""/api/v1/audit: who did what to what, as the page of the audit trail tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ID_MAX, ApiView, operation
from agenticos.api.shapes import PageQuery, page_of
from campaigns import trail
from campaigns.status import iso
from tenants.models import AuditEntry

TAG: Final = "Audit"


class Moment(serializers.DateTimeField):
    """A time that every zone and every database can hold."""

    def to_internal_value(self, value: Any) -> datetime:
        found: datetime = super().to_internal_value(value)
        if not 1900 <= found.year <= 9000:
            raise serializers.ValidationError(_("Expected a year between 1900 and 9000."))
        return found


class AuditQuery(PageQuery):
    actor = serializers.CharField(
        max_length=254, default="", help_text="Part of the actor's name; capitals do not count."
    )
    action = serializers.CharField(max_length=60, default="", help_text="Such as `lead.erased`.")
    object_type = serializers.CharField(
        max_length=60, default="", help_text="Such as `campaigns.campaign`."
    )
    object_id = serializers.IntegerField(min_value=1, max_value=ID_MAX, required=False)
    since = Moment(required=False, help_text="From then on.")
    until = Moment(required=False, help_text="Before then.")


class AuditEntrySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor_id = serializers.IntegerField(allow_null=True, help_text="The person's; null: none.")
    actor = serializers.CharField(help_text="How they were known then, or `system`.")
    action = serializers.CharField()
    text = serializers.CharField(help_text="The action in words, in the reader's language.")
    object_type = serializers.CharField()
    object_id = serializers.IntegerField(allow_null=True)
    data = serializers.DictField(  # type: ignore[assignment]  # shadows Serializer's attribute on purpose
        help_text="Harmless facts: counts, states, codes, names of fields."
    )


AuditPage = page_of(AuditEntrySerializer)


class Audit(ApiView):
    @operation(
        "audit:read", "audit.view", tag=TAG, query=AuditQuery, answer=AuditPage,
        summary="List what people, programs and the system did, the newest first",
        text=(
            "Entries are never changed; the oldest go when the workspace's period for them is "
            "over. `manage.py verify_audit` proves the chain that they are sealed into."
        ),
        example={
            "items": [{
                "id": 52, "at": "2026-11-25T14:00:00+00:00", "actor_id": 3,
                "actor": "ana@example.com", "action": "campaign.paused", "text": "Paused",
                "object_type": "campaigns.campaign", "object_id": 7, "data": {"in_flight": 2},
            }],
            "next": "WzUyXQ",
        },
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        query = self.query(AuditQuery)
        rows = AuditEntry.objects.all()
        for name, condition in _CONDITIONS.items():
            if value := query.get(name):
                rows = rows.filter(**{condition: value})
        return self.page(rows, ("-pk",), query, _entries)


_CONDITIONS: Final = {
    "actor": "actor__icontains",
    "action": "action",
    "object_type": "object_type",
    "object_id": "object_id",
    "since": "at__gte",
    "until": "at__lt",
}


def _entries(rows: list[AuditEntry]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "at": iso(row.at),
            "actor_id": row.actor_id,
            "actor": row.actor,
            "action": row.action,
            "text": trail.words_of(row.action),
            "object_type": row.object_type,
            "object_id": row.object_id,
            "data": row.data,
        }
        for row in rows
    ]
