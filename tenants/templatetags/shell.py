"""The header of a tenant's pages: its colour, and the tenants one can change to."""

from __future__ import annotations

import zlib

from django import template
from django.conf import settings

from agenticos import scope
from tenants.context import Place
from tenants.models import Membership, Tenant

register = template.Library()

COLOURS = 8


@register.filter
def stripe(tenant: Tenant) -> str:
    """The class of the tenant's colour: the same on every page, so nobody acts in the wrong one."""
    return f"stripe-{zlib.crc32(tenant.slug.encode()) % COLOURS}"


@register.filter
def href_in(place: Place, tenant: Tenant) -> str:
    """The address of a place of the menu in this tenant."""
    return place.href(tenant)


@register.simple_tag
def oidc_name() -> str:
    """What the provider is called that one may log in through; empty where there is none."""
    return settings.OIDC_NAME if settings.OIDC_SERVER_URL else ""


@register.simple_tag(takes_context=True)
def my_tenants(context: template.Context) -> list[Tenant]:
    """The tenants of the person who looks, by name."""
    request = context.get("request")
    if request is None or not request.user.is_authenticated:
        return []
    return tenants_of(request.user.pk)


def tenants_of(user_id: int | None) -> list[Tenant]:
    """The tenants that a person is a member of, by name."""
    with scope.as_system("memberships of the person who logged in"):
        rows = (
            Membership.objects.filter(user=user_id)
            .select_related("tenant")
            .order_by("tenant__name")
        )
        return [row.tenant for row in rows]
