"""Answers that say no: RFC 9457 problems with a code for programs and a sentence for people."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, OperationalError
from django.http import Http404, JsonResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response

from agenticos import outage
from agenticos.errors import Refused
from tenants.authentication import NoEntry

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that cannot be served, as it is answered."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = dict(errors or {}), dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **({"errors": self.errors} if self.errors else {}),
            "request_id": request_id,
        }


def bad_input(errors: Mapping[str, list[str]]) -> Problem:
    """400 with what is wrong by field; the key "" is about the whole."""
    return Problem(400, "invalid", _("Something in the request is not right."), errors=errors)


def bad_cursor() -> Problem:
    """400 for a cursor that no page of the list has given."""
    return bad_input({"cursor": [_("This is not a cursor of this list.")]})


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Turn any exception of a view into its problem; nothing of an unexpected one is told."""
    request_id = str(getattr(context["view"], "request_id", ""))
    problem = problem_of(error)
    if problem is None:
        logger.error("api.failed request_id=%s", request_id, exc_info=error)
        problem = Problem(
            500, "unexpected", _("Something went wrong here. Tell support the request id.")
        )
    return Response(
        problem.body(request_id),
        status=problem.status,
        headers=problem.headers,
        content_type=MEDIA_TYPE,
    )


def answer(problem: Problem, request_id: str) -> JsonResponse:
    """The same outside REST framework's views."""
    return JsonResponse(
        problem.body(request_id),
        status=problem.status,
        headers=problem.headers,
        content_type=MEDIA_TYPE,
    )


def unavailable() -> Problem:
    """503 while the database is out of reach."""
    return Problem(
        503,
        "unavailable",
        _("The database does not answer at this moment. Try again in a few seconds."),
        headers={"Retry-After": "5"},
    )


def problem_of(error: Exception) -> Problem | None:
    """The problem that an exception means; None for one that nobody expected."""
    match error:
        case Problem():
            return error
        case NoEntry():
            return Problem(
                401,
                error.code,
                str(error),
                headers={"WWW-Authenticate": 'Bearer realm="AgenticOS"'},
            )
        case Refused():
            return Problem(409, error.code, str(error))
        case Http404() | exceptions.NotFound():
            return Problem(404, "not_found", _("There is nothing here under this address."))
        case exceptions.ValidationError():
            return bad_input(dict(flat(error.detail)))
        case exceptions.MethodNotAllowed():
            return Problem(405, "method_not_allowed", str(error.detail))
        case PermissionDenied():
            return Problem(403, "forbidden", str(error) or _("This is not allowed."))
        case SuspiciousOperation():  # more parts, or larger ones, than Django takes
            return Problem(400, "bad_body", _("The body has too many or too large parts."))
        case exceptions.APIException():
            return Problem(error.status_code, str(error.default_code), str(error.detail))
        case OperationalError() if _is_busy(error):
            return Problem(
                503,
                "busy",
                _("The database is busy. Try again in a moment."),
                headers={"Retry-After": "1"},
            )
        case _ if outage.caused(error):
            return unavailable()
    return None


def _is_busy(error: DatabaseError) -> bool:
    """Whether a wait for somebody else's lock ran out, or there was no connection to be had."""
    state = getattr(error.__cause__, "sqlstate", "")
    words = ("database is locked", "connection failed", "connection timeout")
    return state in ("55P03", "40P01") or any(word in str(error) for word in words)


def flat(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """REST framework's nested errors by dotted path: `audience.bands` → sentences.

    >>> dict(flat({"audience": {"bands": ["Wrong."]}, "non_field_errors": ["No."]}))
    {'audience.bands': ['Wrong.'], '': ['No.']}
    """
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            yield from flat(value, ".".join(filter(None, [path, name])))
    elif isinstance(detail, list) and any(isinstance(item, (Mapping, list)) for item in detail):
        for place, item in enumerate(detail):
            yield from flat(item, f"{path}[{place}]")
    elif isinstance(detail, list):
        yield path, [str(item) for item in detail]
    else:
        yield path, [str(detail)]
