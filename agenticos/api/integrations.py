"""/api/v1/sync-items: what must still reach the CRM."""

from __future__ import annotations

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, PageQuery, one, operation, page_of
from integrations import actions
from integrations.models import SyncItem

TAG = "CRM"


class SyncItemSerializer(serializers.ModelSerializer[SyncItem]):
    reason_text = serializers.CharField(source="why", help_text="In the reader's language.")

    class Meta:
        model = SyncItem
        fields = (
            "id", "key", "connection_id", "state", "reason", "reason_text", "error", "attempts",
            "due_at", "done_at",
        )  # fmt: skip


class SyncItemQuery(PageQuery):
    state = serializers.ChoiceField(SyncItem.State.values, default="")


SyncItemPage = page_of(SyncItemSerializer)


class SyncItems(ApiView):
    @operation(
        "integrations:read", "connections.view", tag=TAG, query=SyncItemQuery,
        answer=SyncItemPage, summary="List what was and is to be written to the CRM",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        query = self.query(SyncItemQuery)
        rows = self.tenant.sync_items.all()
        if query["state"]:
            rows = rows.filter(state=query["state"])
        return self.page(
            rows, ("pk",), query, lambda found: SyncItemSerializer(found, many=True).data
        )


class SyncItemRetry(ApiView):
    @operation(
        "integrations:write", "connections.view", tag=TAG, answer=SyncItemSerializer,
        summary="Deliver one that has failed again",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        item = one(self.tenant.sync_items.all(), pk)
        actions.retry_sync(item, by=self.by, now=timezone.now())
        return Response(SyncItemSerializer(one(self.tenant.sync_items.all(), pk)).data)
