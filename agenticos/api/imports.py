"""/api/v1/imports."""

from __future__ import annotations

import json
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api import parsing
from agenticos.api.base import ApiView, one, operation
from agenticos.api.problems import Problem, bad_input
from agenticos.api.shapes import PageQuery, Strict, page_of
from agenticos.errors import Refused
from leads import actions, importing, intake
from leads.models import ImportProblem, LeadImport


class ImportSerializer(serializers.ModelSerializer[LeadImport]):
    percent = serializers.IntegerField()

    class Meta:
        model = LeadImport
        fields = (
            "id", "file_name", "list_name", "state", "percent", "records", "created", "updated",
            "unchanged", "rejected", "warned", "error", "created_at", "finished_at",
        )  # fmt: skip


class ImportRequest(Strict):
    """A CSV file, in UTF-8, UTF-16 or Windows-1252; its columns are recognised by name."""

    of_text = True

    file = serializers.FileField(help_text="At most 64 MB.")
    list_name = serializers.CharField(max_length=80, default="", allow_blank=True)
    policy = serializers.ChoiceField(
        LeadImport.Policy.choices,
        default=str(LeadImport.Policy.OVERWRITE),
        help_text="What a row does to a lead that is there already.",
    )
    policies = serializers.CharField(
        max_length=2_000,
        default="",
        allow_blank=True,
        help_text='JSON: the policy of single fields, such as {"phone": "fill", "name": "keep"}.',
    )


class ImportProblemSerializer(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    rejected = serializers.BooleanField()
    code = serializers.CharField()
    sentence = serializers.CharField()


ImportPage = page_of(ImportSerializer)
ImportProblemPage = page_of(ImportProblemSerializer)


class StrictMultiPartParser(MultiPartParser):
    """A form with a file."""

    def parse(self, *args: Any, **options: Any) -> Any:
        context = options.get("parser_context") or args[2]
        length = context["request"].headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > importing.MAX_BYTES + parsing.MAX_BYTES:
            limit = {"limit": (importing.MAX_BYTES + parsing.MAX_BYTES) // 1024}
            raise Problem(400, "body_too_large", _("The body is over %(limit)s KB.") % limit)
        found = super().parse(*args, **options)
        parsing.check_once(found.data)
        parsing.check_once(found.files)
        for name, values in found.data.lists():
            for text in (name, *values):
                parsing.check_text(text)
        return found


class Imports(ApiView):
    parser_classes = [StrictMultiPartParser]

    @operation(
        "leads:read", "leads.view", tag="Imports", summary="List imports, the newest first",
        query=PageQuery, answer=ImportPage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.tenant.imports.all(),
            ("-pk",),
            self.query(),
            lambda rows: ImportSerializer(rows, many=True).data,
        )

    @operation(
        "leads:write", "leads.import", tag="Imports", summary="Import a CSV file of leads",
        body={"multipart/form-data": ImportRequest}, answer=ImportSerializer, status=202,
        text="The workers read it; ask the import how far it is. 409 if it cannot be read at all.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(ImportRequest)
        file: UploadedFile = given["file"]
        if (file.size or 0) > importing.MAX_BYTES:
            limit = importing.MAX_BYTES // 1024**2
            raise bad_input({"file": [importing.sentence_for("file_too_large", {"limit": limit})]})
        begun = actions.start_import(
            self.tenant,
            file,
            file.name,
            list_name=given["list_name"],
            policy=given["policy"],
            policies=_policies(given["policies"]),
            by=self.by,
            now=timezone.now(),
        )
        return Response(ImportSerializer(begun).data, status=202)


class ImportDetail(ApiView):
    @operation(
        "leads:read", "leads.view", tag="Imports", summary="Read an import",
        answer=ImportSerializer,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(ImportSerializer(one(self.tenant.imports.all(), pk)).data)


class ImportProblems(ApiView):
    @operation(
        "leads:read", "leads.view", tag="Imports", query=PageQuery, answer=ImportProblemPage,
        summary="List the rows of an import that were refused or taken with something left out",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        begun = one(self.tenant.imports.all(), pk)
        return self.page(begun.problems.all(), ("line", "pk"), self.query(), _problems)


def _policies(text: str) -> dict[str, str]:
    """The policies of single fields as they came. Raises Problem for what is none."""
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise bad_input({"policies": [_("Give a JSON object: field → policy.")]})
    try:
        return intake.clean_policies(given, "")
    except Refused as error:
        raise bad_input({"policies": [str(error)]}) from error


def _problems(rows: list[ImportProblem]) -> list[dict[str, Any]]:
    return [
        {
            "line": row.line,
            "rejected": row.rejected,
            "code": row.code,
            "sentence": importing.sentence_for(row.code, row.params),
        }
        for row in rows
    ]
