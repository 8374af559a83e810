"""/api/v1/templates: the library of texts."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, one, operation
from agenticos.api.fields import Text
from agenticos.api.shapes import PageQuery, Strict, page_of
from campaigns import library
from campaigns.models import Template


class TemplatePatch(Strict):
    name = serializers.CharField(max_length=80)
    body = Text()


class TemplateSerializer(serializers.ModelSerializer[Template]):
    body = serializers.CharField(allow_null=True, help_text="null for those who may not read.")

    class Meta:
        model = Template
        fields = ("id", "name", "body", "updated_at")


TemplatePage = page_of(TemplateSerializer)


def shown(row: Template, *, may_read: bool) -> dict[str, Any]:
    """A text as the API shows it."""
    found = dict(TemplateSerializer(row).data)
    return found if may_read else {**found, "body": None}


class Templates(ApiView):
    @operation(
        "campaigns:read", "campaigns.view", tag="Templates", summary="List the texts",
        query=PageQuery, answer=TemplatePage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.tenant.templates.all(),
            ("pk",),
            self.query(),
            lambda rows: [shown(row, may_read=self.may_read) for row in rows],
        )

    @operation(
        "campaigns:write", "campaigns.edit", tag="Templates", summary="Add a text",
        body=TemplatePatch, answer=TemplateSerializer, status=201,
        sent={"name": "First", "body": "{{Oi|Olá}} {first_name|você}!"},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(TemplatePatch)
        row = library.add_template(self.tenant, **given, by=self.by, now=timezone.now())
        return Response(TemplateSerializer(row).data, status=201)


class TemplateDetail(ApiView):
    @operation(
        "campaigns:read", "campaigns.view", tag="Templates", summary="Read a text",
        answer=TemplateSerializer,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        row = one(self.tenant.templates.all(), pk)
        return Response(shown(row, may_read=self.may_read))

    @operation(
        "campaigns:write", "campaigns.edit", tag="Templates", summary="Change a text",
        body=TemplatePatch, answer=TemplateSerializer, sent={"body": "Olá {first_name|você}!"},
        text="Campaigns keep the text they were made with.",
    )  # fmt: skip
    def patch(self, request: Request, pk: int) -> Response:
        row = one(self.tenant.templates.all(), pk)
        given = self.given(TemplatePatch, partial=True)
        library.edit_template(
            row,
            name=given.get("name", row.name),
            body=given.get("body", row.body),
            by=self.by,
            now=timezone.now(),
        )
        return Response(TemplateSerializer(row).data)
