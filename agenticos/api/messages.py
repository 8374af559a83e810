"""/api/v1/messages, and a campaign's messages."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, one, operation
from agenticos.api.campaigns import TAG, CampaignsView
from agenticos.api.shapes import PageQuery, Strict, page_of
from campaigns import actions
from campaigns.models import Message
from campaigns.status import iso


class MessageLeadSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    handle = serializers.CharField()


class MessageSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    campaign_id = serializers.IntegerField()
    lead = MessageLeadSerializer()
    account_id = serializers.IntegerField(allow_null=True)
    step = serializers.IntegerField()
    state = serializers.ChoiceField(Message.State.choices)
    reason = serializers.CharField(help_text="A code, or empty.")
    reason_text = serializers.CharField()
    error = serializers.CharField(help_text="The provider's own words.")
    attempts = serializers.IntegerField()
    text = serializers.CharField(
        allow_null=True, help_text="null while nothing is rendered, and for those who may not read."
    )
    due_at = serializers.DateTimeField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)


class MessageQuery(PageQuery):
    state = serializers.ChoiceField(Message.State.values, default="")


class ResolveRequest(Strict):
    """What became of a message whose outcome nobody knew."""

    outcome = serializers.ChoiceField(["sent", "send_again", "skip"])


MessagePage = page_of(MessageSerializer)


def _message(row: Message, *, may_read: bool) -> dict[str, Any]:
    return {
        "id": row.pk,
        "campaign_id": row.campaign_id,
        "lead": {"id": row.lead_id, "handle": row.lead.handle},
        "account_id": row.account_id,
        "step": row.step_number,
        "state": row.state,
        "reason": row.reason,
        "reason_text": row.why,
        "error": row.error,
        "attempts": row.attempts,
        "text": (row.text or None) if may_read else None,
        "due_at": iso(row.due_at),
        "sent_at": iso(row.sent_at),
    }


class CampaignMessages(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, query=MessageQuery, answer=MessagePage,
        summary="List a campaign's messages in the order of its audience",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        campaign = self.campaign(pk)
        query = self.query(MessageQuery)
        rows = campaign.messages.select_related("lead")
        if query["state"]:
            rows = rows.filter(state=query["state"])
        may_read = self.may("campaigns:read", "messages.view_text")
        return self.page(
            rows,
            ("position", "pk"),
            query,
            lambda found: [_message(row, may_read=may_read) for row in found],
        )


class MessagesView(ApiView):
    def message(self, pk: int) -> Message:
        return one(self.tenant.messages.select_related("lead"), pk)

    def show(self, pk: int) -> Response:
        may_read = self.may("campaigns:write", "messages.view_text")
        return Response(_message(self.message(pk), may_read=may_read))


class MessageRetry(MessagesView):
    @operation(
        "campaigns:write", "messages.resolve", tag="Messages", summary="Send a failed one again",
        answer=MessageSerializer,
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.retry_message(self.message(pk), by=self.by, now=timezone.now())
        return self.show(pk)


class MessageResolve(MessagesView):
    @operation(
        "campaigns:write", "messages.resolve", tag="Messages", body=ResolveRequest,
        summary="Say what became of one whose outcome is unknown",
        answer=MessageSerializer, sent={"outcome": "sent"},
        text="409 `already_resolved` for the second of two people.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        message = self.message(pk)
        outcome = self.given(ResolveRequest)["outcome"]
        actions.resolve_message(message, outcome, by=self.by, now=timezone.now())
        return self.show(pk)
