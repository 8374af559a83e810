"""How long a log-in lasts, and that a log-out leaves nothing behind in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils import timezone

BEGAN, SEEN = "session_began", "session_seen"
SEEN_STEP_S = 60  # how exactly the last sign of life is kept: a write at most this often


class SessionLifeMiddleware:
    """Ends a session SESSION_IDLE_S after its last sign of life, SESSION_MOST_S after its start.

    With "keep me signed in" it lasts SESSION_COOKIE_AGE, idle or not. Parts that renew themselves
    on an open page are no sign of life, so htmx's GETs do not count.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and SESSION_KEY in request.session:
            self._look(request)
        response = self.get_response(request)
        if request.method == "POST" and request.path == resolve_url("account_logout"):
            response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    def _look(self, request: HttpRequest) -> None:
        session, now = request.session, time.time()
        began = float(session.setdefault(BEGAN, now))
        seen = float(session.setdefault(SEEN, now))
        kept = not session.get_expire_at_browser_close()
        most = settings.SESSION_COOKIE_AGE if kept else settings.SESSION_MOST_S
        idle = settings.SESSION_COOKIE_AGE if kept else settings.SESSION_IDLE_S
        if now - began >= most or now - seen >= idle:
            UserSession.objects.filter(session_key=session.session_key).delete()
            session.flush()
            return
        renews_itself = request.method == "GET" and "HX-Request" in request.headers
        if now - seen >= SEEN_STEP_S and not renews_itself:
            session[SEEN] = now
            row = UserSession.objects.filter(session_key=session.session_key)
            if not row.update(last_seen_at=timezone.now()) and request.user.is_authenticated:
                UserSession.objects.create_from_request(request)


def begin(sender: Any, request: HttpRequest, **said: Any) -> None:
    """Note when a session began: at its log-in."""
    request.session[BEGAN] = request.session[SEEN] = time.time()
