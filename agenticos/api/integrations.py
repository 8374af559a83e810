"""/api/v1/sync-items: what must still reach the CRM; /api/v1/dead-letters: what did not."""

from __future__ import annotations

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, one, operation
from agenticos.api.shapes import PageQuery, Strict, page_of
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
        "integrations:write", "sync.retry", tag=TAG, answer=SyncItemSerializer,
        summary="Deliver one that has failed again",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        item = one(self.tenant.sync_items.all(), pk)
        actions.retry_sync(item, by=self.by, now=timezone.now())
        return Response(SyncItemSerializer(one(self.tenant.sync_items.all(), pk)).data)


# --- Dead letters -----------------------------------------------------------------------------


class DiscardRequest(Strict):
    reason = serializers.CharField(max_length=300, help_text="Why it may be dropped, for people.")


class DeadLettersView(ApiView):
    def item(self, pk: int) -> SyncItem:
        return one(self.tenant.sync_items.all(), pk)

    def show(self, pk: int) -> Response:
        return Response(SyncItemSerializer(self.item(pk)).data)


class DeadLetters(DeadLettersView):
    @operation(
        "integrations:read", "connections.view", tag=TAG, query=PageQuery, answer=SyncItemPage,
        summary="List what no worker will try again by itself",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            actions.dead(self.tenant),
            ("pk",),
            self.query(),
            lambda found: SyncItemSerializer(found, many=True).data,
        )


class DeadLetterReplay(DeadLettersView):
    @operation(
        "integrations:write", "sync.retry", tag=TAG, answer=SyncItemSerializer,
        summary="Deliver a dead letter once more",
        text="Also one that was discarded. 409 `not_dead` for one that is neither.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.replay_dead(self.item(pk), by=self.by, now=timezone.now())
        return self.show(pk)


class DeadLetterDiscard(DeadLettersView):
    @operation(
        "integrations:write", "sync.retry", tag=TAG, body=DiscardRequest,
        answer=SyncItemSerializer, summary="Put a dead letter aside for good",
        sent={"reason": "The contact was deleted on purpose."},
        text="A later change of the same record is delivered all the same.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        item = self.item(pk)
        reason = self.given(DiscardRequest)["reason"]
        actions.discard_dead(item, reason, by=self.by, now=timezone.now())
        return self.show(pk)
