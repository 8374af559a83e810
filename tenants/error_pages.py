"""Errors as people see them: a page within the frame, or the sentence alone for a part of htmx."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation

from agenticos import scope
from tenants.http import language_of

PLAIN = "text/plain; charset=utf-8"


def error_page(request: HttpRequest, name: str, status: int, sentence: str) -> HttpResponse:
    """The page of templates/errors/, in the tenant's frame for its members.

    For htmx the sentence as plain text: a toast shows it (static/js/app.js), since a page inside
    a panel would be a trap.
    """
    if getattr(request, "htmx", False):
        return HttpResponse(sentence, status=status, content_type=PLAIN)
    tenant = getattr(request, "tenant", None)
    context = {"sentence": sentence, "frame": "base.html" if tenant else "entrance.html"}
    # The middleware may have left the tenant's scope already, and the frame's bell needs it.
    inside = scope.as_tenant(tenant) if tenant else scope.as_nobody()
    with inside, translation.override(language_of(request)):
        return render(request, f"errors/{name}.html", context, status=status)
