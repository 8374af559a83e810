"""Whether a person has just shown who they are: what a dangerous act asks for."""

from __future__ import annotations

import time
from urllib.parse import urlencode, urlsplit

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django_htmx.http import HttpResponseClientRedirect


def is_fresh(request: HttpRequest) -> bool:
    """Whether they gave a password, a code or a passkey in the last FRESH_S seconds."""
    user = request.user
    records = get_authentication_records(request, user) if user.is_authenticated else []
    return bool(records) and time.time() - float(records[-1]["at"]) < settings.FRESH_S


def ask_again(request: HttpRequest) -> HttpResponse:
    """Lead to the question who they are, and from there back to the page they were on.

    Nothing of what they sent is kept: it may be a secret. So a POST has to be done again.
    """
    htmx = getattr(request, "htmx", False)
    if htmx or request.method == "POST":
        text = _("Show that it is you, then do it again: nothing was changed yet.")
        messages.info(request, text)
    back = (getattr(htmx, "current_url_abs_path", None) or "") if htmx else _page(request)
    to = f"{reverse('account_reauthenticate')}?{urlencode({'next': back or reverse('home')})}"
    return HttpResponseClientRedirect(to) if htmx else HttpResponseRedirect(to)


def _page(request: HttpRequest) -> str:
    """The page that the request came from, or that it asks for."""
    if request.method in ("GET", "HEAD"):
        return request.get_full_path()
    came = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(
        came, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        parts = urlsplit(came)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path
    return ""
