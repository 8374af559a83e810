"""Exceptions, told to Sentry: where and what kind, with ids; nothing of a request or a person.

Silent without SENTRY_DSN. An event is built anew out of what is known to be harmless, instead of
taking out what is known to be harmful: what the next version of the SDK adds stays at home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from structlog.contextvars import get_contextvars

from agenticos import logs, scope

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

KEPT = (
    "event_id", "timestamp", "level", "logger", "platform", "release", "environment", "sdk",
    "transaction", "fingerprint",
)  # fmt: skip
FRAME = ("filename", "function", "module", "lineno", "in_app", "context_line")
TAGS = ("request_id", "woken_by", "task", "task_id", "tenant", "campaign", "message", "key")


def start() -> None:
    """Begin to report, if there is somebody to report to."""
    if not settings.SENTRY_DSN:
        return
    import sentry_sdk
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration, ignore_logger

    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        release=settings.SENTRY_RELEASE or None,
        environment=settings.SENTRY_ENVIRONMENT,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=harmless,
        traces_sample_rate=0.0,
        auto_session_tracking=False,
        auto_enabling_integrations=False,
        integrations=[
            # The route and not the path: a path may hold a secret link.
            DjangoIntegration(transaction_style="url", middleware_spans=False),
            LoggingIntegration(level=None),
        ],
        shutdown_timeout=2,
    )
    ignore_logger("django-q")  # what it catches has been logged by our own


def harmless(event: Event, hint: Hint) -> Event | None:
    """The event that leaves: kinds, places and ids."""
    given: dict[str, Any] = dict(event)
    kept: dict[str, Any] = {name: given[name] for name in KEPT if name in given}
    links = (given.get("exception") or {}).get("values") or []
    error = (hint.get("exc_info") or (None, None, None))[1]
    told = _words(error)
    kept["exception"] = {"values": [_link(link, told) for link in links]}
    if said := given.get("logentry"):
        # The sentence of our code, without what was put into it.
        kept["logentry"] = {"message": logs.clean(str(said.get("message") or ""))}
    bound = {**get_contextvars()}
    here = scope.current()
    if here is not None and here.tenant_id is not None:
        bound["tenant"] = here.tenant_id
    kept["tags"] = {name: str(bound[name]) for name in TAGS if bound.get(name)}
    if bound.get("user"):
        kept["user"] = {"id": str(bound["user"])}
    return kept  # type: ignore[return-value]  # the hint is wider


def _words(error: BaseException | None) -> dict[str, str]:
    """By kind, what the exceptions of a chain say, without what they quote."""
    told: dict[str, str] = {}
    link, left = error, 20
    while link is not None and left:
        told.setdefault(type(link).__name__, logs.said(link))
        link, left = link.__cause__ or link.__context__, left - 1
    return told


def _link(link: dict[str, Any], told: dict[str, str]) -> dict[str, Any]:
    """One exception of a chain."""
    kind = str(link.get("type") or "")
    frames = (link.get("stacktrace") or {}).get("frames") or []
    return {
        "type": kind,
        "module": link.get("module"),
        "value": told.get(kind, ""),
        "stacktrace": {
            "frames": [{name: frame.get(name) for name in FRAME} for frame in frames],
        },
    }
