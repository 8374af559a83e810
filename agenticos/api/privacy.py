"""/api/v1/leads/{id}/erase and /subject-export: the rights of the person behind a lead."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import operation
from agenticos.api.leads import TAG, LeadsView
from leads import erasing, subject


class ReceiptSerializer(serializers.Serializer[Any]):
    """What was erased; nothing in it says who."""

    lead = serializers.IntegerField(help_text="The id of what is left: an anonymous row.")
    suppressed = serializers.ListField(
        child=serializers.ChoiceField(["handle", "email", "phone"]),
        help_text="Kinds of identity that are kept as keyed hashes.",
    )
    removed = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many rows or files, by kind."
    )
    crm_contacts = serializers.IntegerField(help_text="Contacts in CRMs that must be erased there.")


class SubjectExportSerializer(serializers.Serializer[Any]):
    made_at = serializers.DateTimeField()
    workspace = serializers.CharField()
    profile = serializers.DictField()
    tags = serializers.ListField(child=serializers.CharField())
    scores = serializers.ListField(child=serializers.DictField())
    suppressions = serializers.ListField(child=serializers.DictField())
    imports = serializers.ListField(child=serializers.DictField())
    jobs = serializers.ListField(child=serializers.DictField())
    crm = serializers.DictField()
    messages = serializers.ListField(child=serializers.DictField())
    test_messages = serializers.ListField(child=serializers.DictField())


class LeadErase(LeadsView):
    @operation(
        "leads:write", "leads.erase", tag=TAG, summary="Erase a person for good",
        answer=ReceiptSerializer,
        text=(
            "Removes what is known of the person everywhere and keeps the counts of campaigns. "
            "Handle, e-mail and phone stay suppressed as keyed hashes. The CRM's copy is to be "
            "erased there. 409 `in_flight` while a message, a write to the CRM, an import or an "
            "export that holds them is under way, `import_open` while an unfinished import names "
            "them, `erased` when it was done before."
        ),
        example={
            "lead": 7, "suppressed": ["handle", "email"],
            "removed": {"messages": 1, "profiles": 1, "tags": 2}, "crm_contacts": 1,
        },
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        receipt = erasing.erase_person(self.lead(pk), by=self.by, now=timezone.now())
        return Response(receipt.harmless())


class LeadSubjectExport(LeadsView):
    @operation(
        "leads:read", "leads.disclose", tag=TAG, summary="Read all that is known of a person",
        answer=SubjectExportSerializer,
        text="For that person: their data and nobody else's, with the texts of their messages.",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(subject.export_subject(self.lead(pk), by=self.by, now=timezone.now()))
