"""What people do with their tenant: its settings and its members. One verb each, audited."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from tenants import audit, custom_roles, limits
from tenants.models import Membership, Tenant, User
from tenants.retention_models import BOUNDS
from tenants.roles import Role

EDITABLE = ("name", "time_zone", "language", "contact_gap_days", "require_mfa")


@transaction.atomic
def edit_tenant(tenant: Tenant, values: dict[str, Any], *, by: User | None, now: datetime) -> bool:
    """Change the tenant's settings, any of EDITABLE; return whether anything was different.

    The values are checked by the form or the serializer that read them.
    """
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    changed = [name for name in EDITABLE if name in values and values[name] != getattr(row, name)]
    for name in changed:
        setattr(row, name, values[name])
        setattr(tenant, name, values[name])
    if changed:
        row.save(update_fields=changed)
        audit.record(row, "tenant.edited", by=by, fields=changed)
    if "time_zone" in changed:
        forget_day_usage(row)
    return bool(changed)


@transaction.atomic
def edit_keeping(
    tenant: Tenant, values: dict[str, Any], *, by: User | None, now: datetime
) -> list[str]:
    """Change how long things are kept, any of `retention_models.BOUNDS`; return what was different.

    The values are checked by the form that read them, and by the database. It holds from the next
    sweep on.
    """
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    before = {
        name: getattr(row, name)
        for name in BOUNDS
        if name in values and values[name] != getattr(row, name)
    }
    for name in before:
        setattr(row, name, values[name])
        setattr(tenant, name, values[name])
    if before:
        row.save(update_fields=list(before))
        after = {name: values[name] for name in before}
        audit.record(row, "tenant.keeping_changed", by=by, before=before, after=after)
    return list(before)


@transaction.atomic
def edit_plan(
    tenant: Tenant, values: dict[str, Any], *, by: User | None, now: datetime, **data: Any
) -> list[str]:
    """Change what the tenant has bought, any of `limits.FIELDS`; return what was different.

    A limit below what is there takes nothing away: it only lets nothing be added. `campaigns.plan`
    has the whole of it, accounts that wait for a new day included.
    """
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    before = {
        name: getattr(row, name)
        for name in limits.FIELDS
        if name in values and values[name] != getattr(row, name)
    }
    for name in before:
        setattr(row, name, values[name])
        setattr(tenant, name, values[name])
    if before:
        row.save(update_fields=list(before))
        after = {name: values[name] for name in before}
        audit.record(row, "tenant.plan_changed", by=by, before=before, after=after, **data)
    if "max_messages_day" in before:
        forget_day_usage(row)
    return list(before)


@transaction.atomic
def suspend(tenant: Tenant, *, by: User | None, now: datetime, **data: Any) -> None:
    """Shut the tenant out: its people and programs get no page, and nothing of it is sent.

    Raises Refused when it is suspended already.
    """
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.suspended_at is not None:
        raise Refused(_("This workspace is suspended already."), code="wrong_state")
    row.suspended_at = tenant.suspended_at = now
    row.save(update_fields=["suspended_at"])
    audit.record(row, "tenant.suspended", by=by, **data)


@transaction.atomic
def unsuspend(tenant: Tenant, *, by: User | None, now: datetime, **data: Any) -> None:
    """Let the tenant in again. Raises Refused when it is not suspended."""
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.suspended_at is None:
        raise Refused(_("This workspace is not suspended."), code="wrong_state")
    row.suspended_at = tenant.suspended_at = None
    row.save(update_fields=["suspended_at"])
    audit.record(row, "tenant.unsuspended", by=by, **data)


def forget_day_usage(tenant: Tenant) -> None:
    """Let what is used of the day's caps be counted anew: other caps, or another day."""
    tenant.day_usage.all().delete()
    tenant.campaign_usage.all().delete()


@transaction.atomic
def change_role(membership: Membership, role: str, *, by: User | None, now: datetime) -> None:
    """Give a member another role: one of the five, or one of the tenant's own as `custom-7`.

    Raises Refused for the last owner, and for an unknown role.
    """
    row = _locked(membership)
    old, new = custom_roles.Held(row.role, row.custom_role), custom_roles.find(role)
    if old == new:
        return
    _keep_an_owner(row)
    row.role, row.custom_role = membership.role, membership.custom_role = new
    row.save(update_fields=["role", "custom_role"])
    audit.record(row, "membership.role_changed", by=by, before=old.said, after=new.said)


@transaction.atomic
def remove_member(membership: Membership, *, by: User | None, now: datetime) -> None:
    """Take a person out of the tenant, at once, with the keys they made.

    Raises Refused for the last owner.
    """
    row = _locked(membership)
    _keep_an_owner(row)
    keys = row.api_keys.filter(revoked_at=None).count()
    audit.record(
        row, "membership.removed", by=by, person=row.user_id, keys_revoked=keys,
        role=custom_roles.Held(row.role, row.custom_role).said,
    )  # fmt: skip
    row.delete()


def _locked(membership: Membership) -> Membership:
    """The member as they are now; the owners are locked too, so two cannot leave at once.

    Raises Refused when somebody removed them a moment ago.
    """
    owners = Membership.objects.filter(tenant=membership.tenant_id, role=Role.OWNER)
    list(owners.order_by("pk").select_for_update(of=("self",)))
    rows = Membership.objects.select_related("custom_role").select_for_update(of=("self",))
    row = rows.filter(pk=membership.pk).first()
    if row is None:
        raise Refused(_("This person is no member any more."), code="not_a_member")
    return row


def _keep_an_owner(row: Membership) -> None:
    others = Membership.objects.filter(tenant=row.tenant_id, role=Role.OWNER).exclude(pk=row.pk)
    if row.role == Role.OWNER and not others.exists():
        raise Refused(
            _("A workspace needs an owner. Make somebody else one first."), code="last_owner"
        )
