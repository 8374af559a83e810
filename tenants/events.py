"""Security events in the log: fixed names, ids only. What is worth an alarm can be searched for.

auth.login  auth.failed  auth.logout  auth.password_changed  auth.password_reset
auth.email_changed  auth.mfa_added  auth.mfa_removed  auth.mfa_codes_renewed  auth.mfa_failed
auth.mfa_reset
auth.reauthenticated  auth.limited  authz.denied  tenant.mismatch
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from allauth.usersessions.models import UserSession
from django.contrib.auth import signals as auth
from django.http import HttpRequest

logger = logging.getLogger("agenticos.security")

ALARMING = (
    "auth.failed",
    "auth.limited",
    "auth.mfa_failed",
    "auth.mfa_reset",
    "authz.denied",
    "tenant.mismatch",
)


def note(name: str, request: HttpRequest | None, **ids: Any) -> None:
    """Write that `name` happened: who, in which tenant, on which route, in which request."""
    match = getattr(request, "resolver_match", None)
    user = getattr(request, "user", None)
    told = {
        "user": getattr(user, "pk", None),
        "tenant": getattr(getattr(request, "tenant", None), "pk", None),
        "route": getattr(match, "route", None),
        "request": request_id(request) if request is not None else None,
        **ids,
    }
    line = " ".join(f"{key}={'-' if value is None else value}" for key, value in told.items())
    level = logging.WARNING if name in ALARMING else logging.INFO
    logger.log(level, "%s %s", name, line, extra={"event": name, **_safe(told)})


def _safe(told: dict[str, Any]) -> dict[str, Any]:
    """As fields of a record, under names that no log record has itself."""
    return {f"event_{key}": value for key, value in told.items()}


def request_id(request: HttpRequest) -> str:
    """The id of the request; given here when nobody in front has given one."""
    known = getattr(request, "request_id", None)
    if not known:
        known = uuid.uuid4().hex
        request.request_id = known  # type: ignore[attr-defined]  # Django's request becomes ours
    return str(known)


def _listener(name: str) -> Callable[..., None]:
    def hear(sender: Any, request: HttpRequest | None = None, **said: Any) -> None:
        user = said.get("user")
        authenticator = said.get("authenticator")
        ids = {"user": user.pk} if user is not None else {}
        if authenticator is not None:
            ids["kind"] = authenticator.type
        note(name, request, **ids)

    return hear


def _end_others(sender: Any, request: HttpRequest, user: Any, **said: Any) -> None:
    """Whoever else is logged in as this person was so under the old second factor."""
    others = UserSession.objects.filter(user=user).exclude(session_key=request.session.session_key)
    for session in others:
        session.end()


def _authenticated(sender: Any, request: HttpRequest, user: Any, **said: Any) -> None:
    if said.get("reauthenticated"):
        note("auth.reauthenticated", request, user=user.pk, kind=said.get("method"))


_HEARD: list[tuple[Any, Callable[..., None]]] = [
    (auth.user_logged_in, _listener("auth.login")),
    (auth.user_login_failed, _listener("auth.failed")),
    (auth.user_logged_out, _listener("auth.logout")),
    (account.password_changed, _listener("auth.password_changed")),
    (account.password_set, _listener("auth.password_changed")),
    (account.password_reset, _listener("auth.password_reset")),
    (account.email_changed, _listener("auth.email_changed")),
    (account.authentication_step_completed, _authenticated),
    (mfa.authenticator_added, _listener("auth.mfa_added")),
    (mfa.authenticator_removed, _listener("auth.mfa_removed")),
    (mfa.authenticator_reset, _listener("auth.mfa_codes_renewed")),
    (mfa.authentication_failed, _listener("auth.mfa_failed")),
    (mfa.authenticator_added, _end_others),
    (mfa.authenticator_removed, _end_others),
    (mfa.authenticator_reset, _end_others),
]


def listen() -> None:
    """Hear what Django and allauth tell of log-ins; called once, at the start."""
    for signal, hear in _HEARD:
        signal.connect(hear, weak=False)
