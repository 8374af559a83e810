"""The doors of the pages: the scope, the log-in, the tenant in the URL, the language."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils import timezone, translation
from django_htmx.http import HttpResponseClientRedirect
from structlog.contextvars import bind_contextvars

from agenticos import scope, timeouts
from agenticos.errors import Refused
from tenants import events, second_factor
from tenants.error_pages import error_page
from tenants.http import language_of
from tenants.models import Membership

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ScopeMiddleware:
    """Every request starts without a scope, whatever the thread served before.

    The scope of the tenant (or, for staff in the admin, of the system) is entered here and not in
    `process_view`, so that it also covers the rendering of lazy template answers.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with scope.as_nobody(), timeouts.within(timeouts.PAGE):
            return self.get_response(request)


class LoginMiddleware(LoginRequiredMiddleware):
    """Everything is closed but what says @login_not_required; htmx is sent away as a whole page.

    A log-in page inside a panel would be a trap, so htmx gets the address to go to.
    """

    def handle_no_permission(  # type: ignore[override]  # htmx gets 200 with a header
        self, request: HttpRequest, view_func: Any
    ) -> HttpResponseBase:
        if getattr(request, "htmx", False):
            back = getattr(request, "htmx").current_url_abs_path or resolve_url("home")  # noqa: B009  # the middleware adds it
            query = urlencode({"next": back})
            return HttpResponseClientRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
        return super().handle_no_permission(request, view_func)


class TenantMiddleware:
    """Takes the slug out of /t/<slug>/… and puts the tenant and the membership in its place.

    Strangers get the same 404 as for a tenant that does not exist; a suspended tenant's members
    get 403 with a page. Views below run inside the tenant's scope; the admin, for staff, inside
    the system's.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if match is not None and "admin" in match.app_names and request.user.is_authenticated:
            if request.user.is_staff:
                if second_factor.staff_lacks_it(request.user):
                    return second_factor.lead_to_set_up(request)
                with scope.as_system("admin"):
                    return _rendered(view(request, *args, **kwargs))
            return None
        slug = kwargs.pop("tenant", None)
        if slug is None or not request.user.is_authenticated:
            return None
        with scope.as_system("membership look-up"):
            membership = (
                Membership.objects.select_related("tenant", "user", "custom_role")
                .filter(user=request.user.pk, tenant__slug=slug)
                .first()
            )
        if membership is None:
            events.note("tenant.mismatch", request)
            raise Http404
        request.membership = membership  # type: ignore[attr-defined]  # Django's request becomes ours
        request.tenant = membership.tenant  # type: ignore[attr-defined]  # Django's request becomes ours
        bind_contextvars(user=membership.user_id)
        if membership.tenant.suspended_at:
            events.note("authz.denied", request, reason="suspended")
            return render(request, "errors/suspended.html", status=403)
        if second_factor.is_missing(membership):
            return second_factor.lead_to_set_up(request)
        with (
            scope.as_tenant(membership.tenant),
            timezone.override(zoneinfo.ZoneInfo(membership.tenant.time_zone)),
            translation.override(language_of(request)),
        ):
            try:
                with _one_transaction(request):
                    response = _rendered(view(request, *args, **kwargs))
            except Refused as error:  # of two people, the slower one, where no view says so itself
                response = error_page(request, "409", 409, str(error))
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _one_transaction(request: HttpRequest) -> AbstractContextManager[None]:
    """One transaction for a page that is read: the scope is then told to the database once.

    Who posts has transactions of its own, short ones, and may call a provider between them. On
    SQLite a transaction would take the lock of the one writer.
    """
    reads = request.method in ("GET", "HEAD")
    if not reads or connection.vendor != "postgresql" or connection.in_atomic_block:
        return nullcontext()
    return transaction.atomic()


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    """The response, rendered now if it was lazy: later the scope is gone."""
    render_now = getattr(response, "render", None)
    if callable(render_now) and not getattr(response, "is_rendered", True):
        render_now()
    return response


class LanguageMiddleware:
    """Pages of no tenant (log-in, choice of tenant, errors) speak the person's language."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with translation.override(language_of(request)):
            response = self.get_response(request)
            response = _rendered(response)
        if isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Language", translation.get_language() or "en")
        return response
