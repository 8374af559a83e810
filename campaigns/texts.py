"""Tables of the template library. `campaigns.models` has them too; `library` writes them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models import Tenant, User
from tenants.owned import TenantOwned


class Template(TenantOwned):
    """A text of the library, for campaigns to begin with; `body` is its newest version's."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="templates", db_index=False
    )
    name = models.CharField(_("name"), max_length=80)
    body = models.TextField(_("text"))
    version = models.PositiveSmallIntegerField(default=1, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    # Kept for the campaigns that began with it, and no longer offered.
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("template")
        verbose_name_plural = _("templates")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "name"], name="template_name"),
        ]

    def __str__(self) -> str:
        return self.name


class TemplateVersion(TenantOwned):
    """What a text of the library said at one time. Never changed: campaigns point here."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    template = models.ForeignKey(Template, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveSmallIntegerField()
    body = models.TextField(_("text"))
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "template", "number"], name="template_version_number"
            ),
        ]

    def __str__(self) -> str:
        return f"v{self.number}"
