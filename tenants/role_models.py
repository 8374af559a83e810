"""Roles that tenants define themselves."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.owned import TenantOwned
from tenants.roles import CUSTOM


class CustomRole(TenantOwned):
    """A role that a tenant has defined: what its members may do beyond a viewer (tenants/roles.py).

    Members hold it by `custom_role` beside the role CUSTOM.
    """

    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.CASCADE, related_name="custom_roles", db_index=False
    )
    name = models.CharField(_("name"), max_length=40)
    rights = models.JSONField(_("rights"), default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("role of the workspace's own")
        verbose_name_plural = _("roles of the workspace's own")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "name"], name="custom_role_name"),
        ]

    def __str__(self) -> str:
        return self.name


def held_as_said() -> models.Q:
    """That a row which says CUSTOM names the role, and no other does."""
    named = models.Q(role=CUSTOM, custom_role__isnull=False)
    return named | (~models.Q(role=CUSTOM) & models.Q(custom_role=None))
