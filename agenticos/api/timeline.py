"""/api/v1/leads/{id}/timeline: what was done to a lead, and what was sent to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Model, Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos import paging
from agenticos.api.base import operation
from agenticos.api.leads import TAG, LeadsView
from agenticos.api.problems import bad_cursor
from agenticos.api.shapes import PageQuery, page_of
from campaigns.models import Message
from campaigns.status import iso
from leads.models import Lead
from tenants.models import AuditEntry

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(2200, 1, 1, tzinfo=UTC)
# Of two events of one instant the deed is the later one.
MESSAGE, DEED = 0, 1


class TimelineQuery(PageQuery):
    total = None  # type: ignore[assignment]  # two sources, and nothing that counts both


class TimelineSerializer(serializers.Serializer[Any]):
    """A deed out of the audit trail, or a message as it stands."""

    kind = serializers.ChoiceField(["deed", "message"])
    id = serializers.IntegerField(help_text="Of the audit entry, or of the message.")
    at = serializers.DateTimeField()
    action = serializers.CharField(help_text="`lead.edited` …, or the message's state.")
    actor = serializers.CharField(help_text="Who did it; empty for a message.")
    campaign_id = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField(help_text="A code, or empty.")
    data = serializers.DictField()  # type: ignore[assignment]  # shadows Serializer's attribute on purpose


TimelinePage = page_of(TimelineSerializer)


class LeadTimeline(LeadsView):
    @operation(
        "leads:read", "leads.view", tag=TAG, query=TimelineQuery, answer=TimelinePage,
        summary="List what was done to a lead and sent to it, the newest first",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        lead = self.lead(pk)
        query = self.query(TimelineQuery)
        after = _place(query["cursor"])
        limit = query["limit"]
        found = sorted(_messages(lead, after, limit) + _deeds(lead, after, limit), reverse=True)
        more = len(found) > limit
        found = found[:limit]
        answer = [_shown(row) for _at, _rank, _pk, row in found]
        last = [paging.encode((_micros(at), rank, key)) for at, rank, key, _row in found[-1:]]
        return Response({"items": answer, "next": last[0] if more else None})


_Event = tuple[datetime, int, int, Any]


def _messages(lead: Lead, after: tuple[datetime, int, int] | None, limit: int) -> list[_Event]:
    rows = _before(lead.messages.defer("text"), "updated_at", MESSAGE, after)
    return [(row.updated_at, MESSAGE, row.pk, row) for row in rows[: limit + 1]]


def _deeds(lead: Lead, after: tuple[datetime, int, int] | None, limit: int) -> list[_Event]:
    entries = AuditEntry.objects.filter(object_type=lead._meta.label_lower, object_id=lead.pk)
    rows = _before(entries, "at", DEED, after)
    return [(row.at, DEED, row.pk, row) for row in rows[: limit + 1]]


def _before(
    rows: QuerySet[Any], field: str, rank: int, after: tuple[datetime, int, int] | None
) -> QuerySet[Any]:
    """The rows of one source that come after the cursor, the newest first."""
    if after is not None:
        at, last_rank, last_pk = after
        earlier = Q(**{f"{field}__lt": at})
        if rank < last_rank:
            earlier |= Q(**{field: at})
        elif rank == last_rank:
            earlier |= Q(**{field: at}, pk__lt=last_pk)
        rows = rows.filter(earlier)
    return rows.order_by(f"-{field}", "-pk")


def _place(cursor: str) -> tuple[datetime, int, int] | None:
    """What a cursor says. Raises Problem when it is not one of this list."""
    if not cursor:
        return None
    key = paging.decode(cursor, 3)
    if key is None or not 0 <= key[0] < _micros(END):
        raise bad_cursor()
    return EPOCH + timedelta(microseconds=key[0]), key[1], key[2]


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _shown(row: Model) -> dict[str, Any]:
    if isinstance(row, Message):
        return {
            "kind": "message",
            "id": row.pk,
            "at": iso(row.updated_at),
            "action": row.state,
            "actor": "",
            "campaign_id": row.campaign_id,
            "reason": row.reason,
            "data": {"step": row.step_number, "attempts": row.attempts},
        }
    assert isinstance(row, AuditEntry)  # noqa: S101 - there are two sources
    return {
        "kind": "deed",
        "id": row.pk,
        "at": iso(row.at),
        "action": row.action,
        "actor": row.actor,
        "campaign_id": None,
        "reason": "",
        "data": row.data,
    }
