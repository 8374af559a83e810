"""What a tenant's plan allows: counted where a row is made, under a lock, so never exceeded.

The check stands in `save`, so no door can forget it: `Limited` asks for room before a row is
added. Leads come by the thousand and are counted in `leads.upserting`; messages are counted by
the day, in `campaigns.daycaps`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from django.db import models, transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _, ngettext_lazy

from agenticos.errors import Refused

# What the plan calls it (a field of Tenant) -> the sentence that refuses one more.
SENTENCES: Final[dict[str, Promise]] = {
    "max_members": ngettext_lazy(
        "The plan of this workspace allows %(n)d member. Remove somebody first, or ask for a "
        "larger plan.",
        "The plan of this workspace allows %(n)d members, and there are as many. Remove somebody "
        "first, or ask for a larger plan.",
        "n",
    ),
    "max_accounts": ngettext_lazy(
        "The plan of this workspace allows %(n)d sending account. Ask for a larger plan.",
        "The plan of this workspace allows %(n)d sending accounts, and there are as many. Ask for "
        "a larger plan.",
        "n",
    ),
    "max_api_keys": ngettext_lazy(
        "The plan of this workspace allows %(n)d API key. Revoke it first, or ask for a larger "
        "plan.",
        "The plan of this workspace allows %(n)d API keys, and there are as many. Revoke one "
        "first, or ask for a larger plan.",
        "n",
    ),
    "max_leads": ngettext_lazy(
        "The plan of this workspace allows %(n)d lead. Ask for a larger plan.",
        "The plan of this workspace allows %(n)d leads, and there is no room for these. Ask for a "
        "larger plan.",
        "n",
    ),
}
NAMES: Final[dict[str, Promise | str]] = {
    "max_members": _("Members"),
    "max_accounts": _("Sending accounts"),
    "max_leads": _("Leads"),
    "max_messages_day": _("Messages today"),
    "max_api_keys": _("API keys"),
}
FIELDS: Final = ("plan", *NAMES)


def refusal(field: str, limit: int) -> Refused:
    """The answer to one row too many."""
    code = f"plan_limit_{field.removeprefix('max_')}"
    return Refused(str(SENTENCES[field] % {"n": limit}), code=code)


def limit_of(tenant_id: int, field: str) -> int | None:
    """The limit in force now; None for none."""
    from tenants.models import Tenant

    limit: int | None = Tenant.objects.values_list(field, flat=True).get(pk=tenant_id)
    return limit


def make_room(tenant_id: int, field: str, there: Callable[[], int]) -> None:
    """Hold the tenant's row until the transaction ends, if it has this limit.

    Raises Refused when `there`, counted under that lock, is as many as the limit.
    """
    from tenants.models import Tenant

    if limit_of(tenant_id, field) is None:
        return
    # Rows that only point to the tenant do not wait.
    row = Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)
    limit: int | None = getattr(row, field)
    if limit is not None and there() >= limit:
        raise refusal(field, limit)


class Limited(models.Model):
    """A row of which a plan allows so many; adding one too many raises Refused."""

    plan_limit: ClassVar[str] = ""

    class Meta:
        abstract = True

    @classmethod
    def counted(cls, tenant_id: int) -> int:
        """How many rows count against the limit."""
        return cls._default_manager.filter(**{"tenant": tenant_id}).count()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            super().save(*args, **kwargs)
            return
        self.take_tenant()  # type: ignore[attr-defined]  # of TenantOwned, which stands beside it
        tenant_id: int = self.tenant_id  # type: ignore[attr-defined]  # on rows of tenants only
        with transaction.atomic():
            make_room(tenant_id, self.plan_limit, lambda: type(self).counted(tenant_id))
            super().save(*args, **kwargs)


def living_keys(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """The API keys that still open something."""
    return rows.filter(revoked_at=None, expires_at__gt=timezone.now())
