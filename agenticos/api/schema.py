"""The OpenAPI 3.1 document out of the code, and the page to try it on. Both are public."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator

from tenants.authentication import SCOPES

WITH_KEY_ALONE = "/api/auth/token"
_TEXT = """
JSON over HTTPS. Send `Authorization: Bearer aos_…` with a key of your workspace: it may do what its
scopes **and** its creator's present role allow. `POST /api/auth/token` gives a token of ten minutes
for it, with fewer scopes if you like, which is sent in the same way.

Every answer says how your limit stands: `RateLimit-Limit` calls may come at once,
`RateLimit-Remaining` would be let in now, and in `RateLimit-Reset` seconds all of them again.
Beyond it the answer is 429 with `Retry-After`.

Errors are `application/problem+json` (RFC 9457) with a stable `code`, a sentence in `detail`, and
`errors` by field. What belongs to another workspace answers 404. Lists take `limit` (up to 200) and
`cursor`; their `next` is the cursor of the next page. POST, PATCH and PUT take `Idempotency-Key`.

Scopes: %s; `admin` stands for all of them.
"""


def _number(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}}


_LIMIT_HEADERS = {
    "RateLimit-Limit": _number("Calls that may come at once."),
    "RateLimit-Remaining": _number("Calls that would be let in now."),
    "RateLimit-Reset": _number("Seconds until all of them would be."),
}


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped there
    """How the document calls a key, and the token that one gets for it."""

    target_class = "agenticos.api.base.KeyAuthentication"
    name = ["key", "token"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Either of them; a token is got with a key alone."""
        names = self.name[:1] if auto_schema.path == WITH_KEY_ALONE else self.name
        return [{name: []} for name in names]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        bearer = {"type": "http", "scheme": "bearer"}
        return [
            {**bearer, "description": "An API key, `aos_…`."},
            {
                **bearer,
                "bearerFormat": "JWT",
                "description": "A token of `POST /api/auth/token`, good for ten minutes.",
            },
        ]


def ours(endpoints: list[Any], **options: Any) -> list[Any]:
    """Only what lies below /api/ and is an address."""
    return [one for one in endpoints if one[0].startswith("/api/") and "{rest}" not in one[0]]


def finish(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The text at the top, in no language of a request; every answer has its request id.

    Bodies take no fields but those that are named (`base.Strict`).
    """
    names = ", ".join(f"`{name}`" for name in SCOPES if name != "admin")
    result["info"]["description"] = _TEXT.strip() % names
    header = {"description": "For support.", "schema": {"type": "string"}}
    replayed = {
        "description": "`true` when this is the stored answer of an earlier request.",
        "schema": {"type": "string"},
    }
    shapes = result["components"]["schemas"]
    for methods in result["paths"].values():
        for about in methods.values():
            for name in named(about.get("requestBody", {}), shapes):
                if "properties" in shapes[name]:
                    shapes[name].setdefault("additionalProperties", False)
            for status, answer in about["responses"].items():
                answer["headers"] = {"X-Request-Id": header, **_LIMIT_HEADERS}
                if status == "429":
                    answer["headers"]["Retry-After"] = _number("Seconds until you may come back.")
                if named_in(about, "Idempotency-Key") and status.startswith("2"):
                    answer["headers"]["Idempotent-Replayed"] = replayed
    return result


def named_in(about: dict[str, Any], parameter: str) -> bool:
    """Whether an operation takes a parameter of this name."""
    return any(one["name"] == parameter for one in about.get("parameters", []))


def named(part: Any, shapes: dict[str, Any]) -> set[str]:
    """The names of the components that a part of the document refers to, at any depth.

    >>> sorted(named([{"$ref": "#/components/schemas/A"}], {"A": {"$ref": "#/x/B"}, "B": {}}))
    ['A', 'B']
    """
    found: set[str] = set()
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                waiting.append(shapes[name])
    return found


@cache
def schema() -> dict[str, Any]:
    """The document; made once per process, in English."""
    with translation.override("en"):
        made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # untyped there
    # Plain values: limits of decimals as numbers, lazy texts as texts.
    plain = json.dumps(
        made, default=lambda one: float(one) if isinstance(one, Decimal) else str(one)
    )
    whole: dict[str, Any] = json.loads(plain)
    return whole


@login_not_required
@require_safe
def document(request: HttpRequest) -> HttpResponse:
    """GET /api/schema/"""
    return JsonResponse(schema(), content_type="application/vnd.oai.openapi+json")


@login_not_required
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """GET /api/docs/: Swagger UI from our own files."""
    return render(request, "api/docs.html")
