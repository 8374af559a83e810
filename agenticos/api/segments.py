"""/api/v1/segments: saved views of the lead list. `/api/v1/leads?segment=` lists one's leads."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import QueryDict
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, one, operation
from agenticos.api.problems import Problem
from agenticos.api.shapes import PageQuery, Strict, page_of
from leads import viewing
from leads.filters import LeadFilter
from leads.layout import Layout, canonical
from leads.models import SavedView

TAG = "Leads"


class SegmentRequest(Strict):
    """A filter of the lead list under a name, as it stands in the list's address."""

    name = serializers.CharField(max_length=60)
    query = serializers.CharField(
        max_length=2_000, allow_blank=True, help_text="Such as `band=HOT&tag=fair`."
    )
    shared = serializers.BooleanField(
        default=False, help_text="Whether everybody in the workspace sees it."
    )
    pinned = serializers.BooleanField(default=False, help_text="Whether it is a tab there.")

    def validate_query(self, value: str) -> str:
        asked = QueryDict(value)
        found = LeadFilter(asked, tenant=self.context["tenant"])
        if found.problems:
            raise serializers.ValidationError(found.problems)
        return canonical(found, Layout.read(asked))


class SegmentSerializer(serializers.ModelSerializer[SavedView]):
    class Meta:
        model = SavedView
        fields = ("id", "name", "query", "shared", "pinned", "created_at")


SegmentPage = page_of(SegmentSerializer)
SEGMENT = {
    "id": 4, "name": "Hot at the fair", "query": "band=HOT&tag=fair", "shared": True,
    "pinned": False, "created_at": "2026-03-04T12:00:00-03:00",
}  # fmt: skip


class SegmentsView(ApiView):
    def segments(self) -> QuerySet[SavedView]:
        """What the key's creator sees: their own, and what others share."""
        return viewing.views_for(self.tenant, self.by)


class Segments(SegmentsView):
    @operation(
        "leads:read", "leads.view", tag=TAG, query=PageQuery, answer=SegmentPage,
        summary="List saved views", example={"items": [SEGMENT], "next": None},
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.segments(),
            ("pk",),
            self.query(),
            lambda rows: SegmentSerializer(rows, many=True).data,
        )

    @operation(
        "leads:write", "leads.edit", tag=TAG, body=SegmentRequest, answer=SegmentSerializer,
        status=201, summary="Save a view", example=SEGMENT,
        sent={"name": "Hot at the fair", "query": "band=HOT&tag=fair", "shared": True},
        text="409 `view_exists` if the key's creator has one of this name.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        view = viewing.save_view(self.tenant, **self.given(SegmentRequest), by=self.by)
        return Response(SegmentSerializer(view).data, status=201)


class SegmentDetail(SegmentsView):
    @operation(
        "leads:read", "leads.view", tag=TAG, answer=SegmentSerializer, summary="Read a saved view",
        example=SEGMENT,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(SegmentSerializer(one(self.segments(), pk)).data)

    @operation(
        "leads:write", "leads.edit", tag=TAG, status=204, summary="Remove a saved view",
        text="The leads stay. 403 `not_yours` for another person's.",
    )  # fmt: skip
    def delete(self, request: Request, pk: int) -> Response:
        view = one(self.segments(), pk)
        if not viewing.may_change(view, self.caller.membership):
            text = _("Only the person who saved it, or a manager, may remove it.")
            raise Problem(403, "not_yours", text)
        viewing.delete_view(view, by=self.by)
        return Response(status=204)
