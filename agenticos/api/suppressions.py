"""/api/v1/suppressions, and a lead's own."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, operation
from agenticos.api.leads import TAG, LeadsView, not_right, text_field
from agenticos.api.problems import bad_input
from agenticos.api.shapes import Strict
from leads import actions
from leads.identities import normalise_email, normalise_handle, normalise_phone


class SuppressRequest(Strict):
    """Why this person must not be written to."""

    reason = serializers.CharField(max_length=40, default="api")


class SuppressionRequest(SuppressRequest):
    """One or more identities of a person that must not be written to."""

    handle = text_field(300)
    email = text_field(254)
    phone = text_field(40)


class SuppressionAnswerSerializer(serializers.Serializer[Any]):
    leads_stopped = serializers.IntegerField(help_text="Leads that this newly stops.")


class LeadSuppress(LeadsView):
    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Never write to a lead again",
        body=SuppressRequest, answer=SuppressionAnswerSerializer, sent={"reason": "asked"},
        example={"leads_stopped": 1},
        text=(
            "Suppresses every identity that is known of the lead: handle, e-mail and phone. Other "
            "leads with the same ones are stopped too. Again: nothing changes."
        ),
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        lead = self.lead(pk)
        stopped = actions.suppress(
            self.tenant,
            handle=lead.handle,
            email=lead.email,
            phone=lead.phone,
            reason=self.given(SuppressRequest)["reason"],
            by=self.by,
            now=timezone.now(),
        )
        return Response({"leads_stopped": stopped})


class Suppressions(ApiView):
    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Never write to these identities",
        body=SuppressionRequest, answer=SuppressionAnswerSerializer, status=201,
        sent={"handle": "@ana.silva", "email": "ana@example.com", "reason": "asked"},
        example={"leads_stopped": 1},
        text="Kept as keyed hashes: they hold for leads that come later, and after an erasure.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(SuppressionRequest)
        reading = (
            ("handle", normalise_handle, "bad_handle"),
            ("email", normalise_email, "bad_email"),
            ("phone", normalise_phone, "bad_phone"),
        )
        wrong = {
            name: [not_right(code, value=given[name][:60])]
            for name, read, code in reading
            if given.get(name) and read(given[name]) is None
        }
        if not wrong and not any(given.get(name) for name, _read, _code in reading):
            wrong = {"": [_("Give a handle, an e-mail or a phone number.")]}
        if wrong:
            raise bad_input(wrong)
        known = {name: value or "" for name, value in given.items()}
        stopped = actions.suppress(self.tenant, **known, by=self.by, now=timezone.now())
        return Response({"leads_stopped": stopped}, status=201)
