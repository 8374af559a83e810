"""What a person sets for themselves: the theme, the language, and whether single keys act."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils import translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

COOKIE_AGE = 365 * 24 * 3600
THEMES = ("light", "dark", "")


@login_not_required
@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Keep the theme on the person, and in a cookie for the pages before the log-in."""
    theme = request.POST.get("theme", "")
    response = _back(request)
    if theme in THEMES:
        _keep(request, "theme", theme)
        _cookie(response, "theme", theme)
    return response


@login_not_required
@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Keep the language on the person, and in Django's cookie for the pages before the log-in."""
    language = request.POST.get("language", "")
    response = _back(request)
    if translation.check_for_language(language) and language in dict(settings.LANGUAGES):
        _keep(request, "language", language)
        _cookie(response, settings.LANGUAGE_COOKIE_NAME, language)
    return response


@require_POST
def set_keys(request: HttpRequest) -> HttpResponse:
    """Switch the single-key shortcuts of this person on or off."""
    wanted = request.POST.get("keys", "")
    if wanted in ("on", "off"):
        _keep(request, "single_keys", wanted == "on")
    return _back(request)


def _keep(request: HttpRequest, name: str, value: str | bool) -> None:
    user: Any = request.user
    if user.is_authenticated:
        setattr(user, name, value)
        user.save(update_fields=[name])


def _cookie(response: HttpResponse, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=COOKIE_AGE,
        samesite="Lax",
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
    )


def _back(request: HttpRequest) -> HttpResponse:
    """To where the person was, if that is one of our own addresses."""
    wanted = request.POST.get("next", "")
    good = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    # Not `redirect`: that would look for a route of this name first.
    return HttpResponseRedirect(wanted if good else resolve_url("home"))
