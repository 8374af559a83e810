"""The outermost layer of every request: its id, its line in the log, its time as a metric.

Monitors are answered here, before hosts are checked and sessions read; and while the database is
known not to answer, so is everybody else.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from agenticos import health, logs, meters, outage, pages
from agenticos.api import problems

logger = logging.getLogger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponseBase]

PROBES: Final = {"/healthz": health.healthz, "/readyz": health.readyz}
# What a caller may name its request: a UUID or another hex number, and nothing that could be a
# person's; a bare number could be a phone's.
_HARMLESS = re.compile(r"(?=[0-9-]*[a-f])[0-9a-f-]{8,64}", re.IGNORECASE)
# Lines that security reviews look for by name; every other request is a "request".
_NAMES = {401: "auth.refused", 403: "authz.denied", 429: "rate.limited"}


class RequestMiddleware:
    """Must be the first of MIDDLEWARE."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        request_id = id_of(request)
        request.request_id = request_id  # type: ignore[attr-defined]  # Django's request becomes ours
        logs.clear_contextvars()
        logs.bind_contextvars(request_id=request_id)
        probe = PROBES.get(request.path_info)
        if probe is not None:
            response: HttpResponseBase = probe(request)
        elif outage.is_on():
            response = _turned_away(request, request_id)
        else:
            response = self.get_response(request)
        response.headers["X-Request-Id"] = request_id
        _note(request, response.status_code, time.perf_counter() - began)
        logs.clear_contextvars()  # the thread may go on to something else
        return response


def id_of(request: HttpRequest) -> str:
    """The caller's X-Request-Id if it is harmless, else a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _HARMLESS.fullmatch(given) else uuid.uuid4().hex


def _turned_away(request: HttpRequest, request_id: str) -> HttpResponseBase:
    if request.path_info.startswith("/api/"):
        return problems.answer(problems.unavailable(), request_id)
    return pages.unavailable(request)


def _note(request: HttpRequest, status: int, seconds: float) -> None:
    surface = surface_of(request)
    meters.REQUEST.labels(surface, f"{status // 100}xx").observe(seconds)
    if status == 429:
        meters.LIMITED.labels(surface).inc()
    level = logging.DEBUG if surface in ("static", "probe") else logging.INFO
    if not logger.isEnabledFor(level):
        return
    extra: dict[str, Any] = {
        "method": request.method if request.method in _METHODS else "other",
        "route": logs.route_of(request),
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    match = request.resolver_match
    if match is not None and isinstance(match.kwargs.get("pk"), int):
        extra["pk"] = match.kwargs["pk"]
    # Whom the views have looked up already: asking here would cost a query.
    if (user := getattr(request, "_cached_user", None)) is not None and user.pk:
        extra["user"] = user.pk
    if (tenant := getattr(request, "tenant", None)) is not None:
        extra["tenant"] = tenant.pk
    logger.log(level, _NAMES.get(status, "request"), extra=extra)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SURFACES = {
    "api": "api",
    "admin": "admin",
    "accounts": "log-in",
    "hooks": "hooks",
    "static": "static",
    "healthz": "probe",
    "readyz": "probe",
    "metrics": "probe",
}


def surface_of(request: HttpRequest) -> str:
    """Which kind of address was asked for: a word of a short list, for metrics."""
    first = request.path_info.lstrip("/").partition("/")[0]
    if first == "t":
        return "part" if request.headers.get("HX-Request") else "page"
    return _SURFACES.get(first, "other")
