"""Requests that know their tenant, and what is checked before a view: a right, a fresh log-in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.translation import gettext as _
from django_htmx.middleware import HtmxDetails

from tenants.freshness import ask_again, is_fresh
from tenants.models import Membership, Tenant, User
from tenants.roles import ACTIONS, can, who_can

P = ParamSpec("P")


class TenantRequest(HttpRequest):
    """A request below /t/<slug>/: TenantMiddleware has put these in place."""

    tenant: Tenant
    membership: Membership
    user: User
    htmx: HtmxDetails


def language_of(request: HttpRequest) -> str:
    """The person's language, else the tenant's, else the browser's."""
    chosen = getattr(getattr(request, "user", None), "language", "")
    tenant = getattr(request, "tenant", None)
    return (
        chosen or getattr(tenant, "language", "") or translation.get_language_from_request(request)
    )


def refusal(action: str) -> str:
    """Why a person without the right for `action` may not do it."""
    return _("Your role does not allow this. It takes: %(roles)s.") % {
        "roles": ", ".join(who_can(action))
    }


def requires(
    action: str,
) -> Callable[
    [Callable[Concatenate[TenantRequest, P], HttpResponseBase]],
    Callable[Concatenate[TenantRequest, P], HttpResponseBase],
]:
    """Let a view run only for members who may do `action`; others get 403 with the reason.

    The mark it leaves on the view is read by the house test: a tenant's route without one fails.
    """
    if action not in ACTIONS:
        raise KeyError(action)

    def decorate(
        view: Callable[Concatenate[TenantRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[TenantRequest, P], HttpResponseBase]:
        @wraps(view)
        def guarded(request: TenantRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not can(request.membership, action):
                raise PermissionDenied(refusal(action))
            return view(request, *args, **kwargs)

        guarded.required_action = action  # type: ignore[attr-defined]  # a mark on a function
        return cast("Callable[Concatenate[TenantRequest, P], HttpResponseBase]", guarded)

    return decorate


def fresh(
    view: Callable[Concatenate[TenantRequest, P], HttpResponseBase],
) -> Callable[Concatenate[TenantRequest, P], HttpResponseBase]:
    """Let a view run only for who logged in or proved who they are in the last five minutes.

    Others are asked, and come back to the page they were on. It stands below `requires`, nearest
    to the view: who has no right gets 403 and is asked nothing. Its mark is read by the house test.
    """

    @wraps(view)
    def asked(request: TenantRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        return view(request, *args, **kwargs) if is_fresh(request) else ask_again(request)

    asked.needs_fresh = True  # type: ignore[attr-defined]  # a mark on a function
    return cast("Callable[Concatenate[TenantRequest, P], HttpResponseBase]", asked)
