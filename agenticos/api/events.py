"""/api/v1/campaigns/{id}/events: what people and programs did to a campaign."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import operation
from agenticos.api.campaigns import TAG, CampaignsView
from agenticos.api.shapes import PageQuery, page_of
from campaigns.status import iso
from tenants.models import AuditEntry


class EventSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    action = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # shadows Serializer's attribute on purpose


EventPage = page_of(EventSerializer)


class CampaignEvents(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, query=PageQuery, answer=EventPage,
        summary="List what was done to a campaign, the newest first",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        campaign = self.campaign(pk)
        rows = AuditEntry.objects.filter(
            object_type=campaign._meta.label_lower, object_id=campaign.pk
        )
        return self.page(rows, ("-pk",), self.query(), _events)


def _events(rows: list[AuditEntry]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "at": iso(row.at),
            "actor": row.actor,
            "action": row.action,
            "data": row.data,
        }
        for row in rows
    ]
