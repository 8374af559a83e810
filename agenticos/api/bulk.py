"""/api/v1/leads/bulk."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiSerializerExtension
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos import sql
from agenticos.api.base import ApiView, operation
from agenticos.api.leads import TAG
from agenticos.api.shapes import Strict
from leads import editing
from leads.models import Lead, LeadFacts, LeadScore

BULK_MAX = 1_000


class BulkRequest(Strict):
    """Up to 1 000 leads; each row has a `handle` or a `profile_url`."""

    leads = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=BULK_MAX)
    list_name = serializers.CharField(
        max_length=80, default="", allow_blank=True, help_text="A tag for the leads of this call."
    )

    def to_internal_value(self, data: Any) -> Any:
        rows = data.get("leads") if isinstance(data, dict) else None
        if not isinstance(rows, list):
            return super().to_internal_value(data)
        # A row that is no object is that row's outcome, not the whole request's.
        found = super().to_internal_value({**data, "leads": [{}] * len(rows)})
        found["leads"] = rows
        return found


class BulkShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # untyped there
    """How the document shows it: rows may be of any kind, and may come as a bare array."""

    target_class = BulkRequest

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        whole: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        rows = whole["properties"]["leads"]
        rows["items"] = {}
        return {"oneOf": [{**whole, "additionalProperties": False}, rows]}


class BulkProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    reason = serializers.CharField()


class BulkRowSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="The place in `leads`, from 0.")
    outcome = serializers.ChoiceField(["created", "updated", "unchanged", "rejected"])
    id = serializers.IntegerField(allow_null=True)
    handle = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True, help_text="Why it was rejected.")
    reason = serializers.CharField(allow_null=True)
    warnings = BulkProblemSerializer(many=True, help_text="What was left out of the row.")


class BulkAnswerSerializer(serializers.Serializer[Any]):
    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    rejected = serializers.IntegerField()
    rows = BulkRowSerializer(many=True)


class LeadsBulk(ApiView):
    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Create and update up to 1 000 leads",
        body=BulkRequest, answer=BulkAnswerSerializer,
        text=(
            "By handle, as an import does: a row changes only what it has a value for. Every row "
            "has its own outcome; a bad row stops nobody else. A bare array of rows is taken too."
        ),
        sent={"leads": [{"handle": "@ana.silva", "followers": 5200}, {"handle": "bad handle!"}]},
        example={
            "created": 1, "updated": 0, "unchanged": 0, "rejected": 1,
            "rows": [
                {"row": 0, "outcome": "created", "id": 7, "handle": "ana.silva", "code": None,
                 "reason": None, "warnings": []},
                {"row": 1, "outcome": "rejected", "id": None, "handle": None, "code": "bad_handle",
                 "reason": "“bad handle!” is not an Instagram handle: 1 to 30 letters, digits, "
                           "dots and underscores.", "warnings": []},
            ],
        },
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        sent: Any = request.data  # the body may be the bare list, too
        read = BulkRequest(data={"leads": sent} if isinstance(sent, list) else sent)
        read.is_valid(raise_exception=True)
        outcomes = editing.upsert_leads(
            self.tenant,
            read.validated_data["leads"],
            list_name=" ".join(read.validated_data["list_name"].split()),
            by=self.by,
            now=timezone.now(),
        )
        sql.grown_lately(Lead, LeadScore, LeadFacts)
        names = [one.outcome for one in outcomes]
        kinds = ("created", "updated", "unchanged", "rejected")
        rows = [_bulk_row(place, one) for place, one in enumerate(outcomes)]
        return Response({**{kind: names.count(kind) for kind in kinds}, "rows": rows})


def _bulk_row(place: int, one: editing.Outcome) -> dict[str, Any]:
    rejected = one.outcome == "rejected"
    code, reason = one.problems[0] if rejected else (None, None)
    return {
        "row": place,
        "outcome": one.outcome,
        "id": one.lead_id,
        "handle": one.handle or None,
        "code": code,
        "reason": reason,
        "warnings": []
        if rejected
        else [{"code": code, "reason": reason} for code, reason in one.problems],
    }
