"""A person's own log-ins: where they are signed in, and an end to one of them."""

from __future__ import annotations

from allauth.usersessions.internal.flows.sessions import end_sessions
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST


@require_POST
def session_end(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of one's own sessions, wherever it is open; ending this one is a log-out."""
    session = get_object_or_404(UserSession, pk=pk, user=request.user.pk)
    end_sessions(request, [session])
    messages.success(request, _("That session is ended."))
    return redirect("usersessions_list")
