"""The header of a tenant's pages: its colour, and the tenants one can change to."""

from __future__ import annotations

import zlib

from django import template

from agenticos import scope
from tenants.models import Membership, Tenant

register = template.Library()

COLOURS = 8


@register.filter
def stripe(tenant: Tenant) -> str:
    """The class of the tenant's colour: the same on every page, so nobody acts in the wrong one."""
    return f"stripe-{zlib.crc32(tenant.slug.encode()) % COLOURS}"


@register.simple_tag(takes_context=True)
def my_tenants(context: template.Context) -> list[Tenant]:
    """The tenants of the person who looks, by name."""
    request = context.get("request")
    if request is None or not request.user.is_authenticated:
        return []
    with scope.as_system("memberships of the person who logged in"):
        rows = (
            Membership.objects.filter(user=request.user.pk)
            .select_related("tenant")
            .order_by("tenant__name")
        )
        return [row.tenant for row in rows]
