"""/api/auth/token: a key for a token of ten minutes."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, operation
from agenticos.api.problems import Problem, bad_input
from agenticos.api.shapes import Strict
from tenants import tokens
from tenants.authentication import SCOPES


class TokenRequest(Strict):
    scope = serializers.CharField(
        max_length=400,
        required=False,
        help_text="Scopes of the key, with spaces between them; all of them if left out.",
    )


class TokenSerializer(serializers.Serializer[Any]):
    access_token = serializers.CharField(help_text="Sent as `Authorization: Bearer …`.")
    token_type = serializers.ChoiceField(["Bearer"])
    expires_in = serializers.IntegerField(help_text="Seconds.")
    scope = serializers.CharField()


class AuthToken(ApiView):
    @operation(
        None, "tenant.view", tag="Tokens", summary="Get a token of ten minutes for a key",
        body=TokenRequest, answer=TokenSerializer, once=False,
        sent={"scope": "leads:read campaigns:read"},
        example={
            "access_token": "eyJhbGciOiJFZERTQSIsImtpZCI6ImoxIiwidHlwIjoiYXQrand0In0.….…",
            "token_type": "Bearer", "expires_in": 600, "scope": "campaigns:read leads:read",
        },
        text=(
            "A signed JWT for what should not hold the key itself. It may do what the key may, or "
            "less, and ends with it. 403 `scope_missing` for a scope that the key has not, 403 "
            "`key_required` for a token instead of a key, 404 `tokens_off` where the installation "
            "has no JWT_KEYS."
        ),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        if self.caller.by_token:
            raise Problem(403, "key_required", _("A token is got with a key, not with a token."))
        if not tokens.are_on():
            raise Problem(
                404, "tokens_off", _("There are no tokens here: JWT_KEYS is not set. Use the key.")
            )
        given = self.given(TokenRequest)
        wanted = set(given["scope"].split()) if "scope" in given else set(self.caller.scopes)
        if unknown := sorted(wanted - set(SCOPES)):
            text = _("There is no scope “%(scope)s”.") % {"scope": unknown[0]}
            raise bad_input({"scope": [text]})
        for name in sorted(wanted):
            if not self.caller.has_scope(name):
                code, sentence = self.caller.refusal(name, "tenant.view")
                raise Problem(403, code, sentence)
        return Response(
            {
                "access_token": tokens.issue(self.caller.key, wanted, now=timezone.now()),
                "token_type": "Bearer",
                "expires_in": int(tokens.LIFE.total_seconds()),
                "scope": " ".join(sorted(wanted)),
            }
        )
