"""Pages of no tenant: the way in, and the styled error pages."""

from __future__ import annotations

import sys
from typing import cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from agenticos import outage
from tenants import events, second_factor
from tenants.error_pages import PLAIN, error_page
from tenants.models import User
from tenants.templatetags.shell import tenants_of


def home(request: HttpRequest) -> HttpResponse:
    """To the person's only tenant, or to the choice between them."""
    if second_factor.is_missing_anywhere(cast(User, request.user)):
        return second_factor.lead_to_set_up(request)
    tenants = tenants_of(request.user.pk)
    if len(tenants) == 1:
        return redirect(tenants[0])
    if not tenants and getattr(request.user, "is_staff", False):
        return redirect("admin:index")
    return render(request, "home.html", {"tenants": tenants})


def to_admin(request: HttpRequest) -> HttpResponse:
    """The administration's log-in, for who is logged in: there is nothing more to ask."""
    return redirect("admin:index")


def to_password_change(request: HttpRequest, extra_context: object = None) -> HttpResponse:
    return redirect("account_change_password")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The page for a form whose CSRF token is missing or old."""
    text = _("The form was too old: nothing was changed. Reload the page and send it again.")
    return error_page(request, "csrf", 403, text)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, "404", 404, _("This is not there any more. Reload the page."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403; a PermissionDenied with a sentence shows it."""
    events.note("authz.denied", request)
    text = str(exception) or _("Your role does not allow this. Ask an owner of the workspace.")
    return error_page(request, "403", 403, text)


def unavailable(request: HttpRequest) -> HttpResponse:
    """503 while the database is out of reach; made without asking it anything."""
    headers = {"Retry-After": "5", "Cache-Control": "no-store"}
    with translation.override(translation.get_language_from_request(request)):
        if request.headers.get("HX-Request"):
            text = _("The database does not answer at this moment. Try again in a few seconds.")
            return HttpResponse(text, status=503, headers=headers, content_type=PLAIN)
        page = render_to_string("errors/503.html")
    return HttpResponse(page, status=503, headers=headers)


def server_error(request: HttpRequest) -> HttpResponse:
    """500; or 503 when what failed was the way to the database."""
    if outage.caused(sys.exc_info()[1]):
        return unavailable(request)
    if getattr(request, "htmx", False):
        text = _("Something broke on our side. It has been noted; try again in a moment.")
        return HttpResponse(text, status=500, content_type=PLAIN)
    return render(request, "errors/500.html", status=500)
