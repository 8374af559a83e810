"""Roles that a tenant defines itself: made, changed, deleted and given. One verb each, audited.

What they mean is said in tenants/roles.py, whose `can` answers for them too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext as _, ngettext

from agenticos.errors import Refused
from tenants import audit
from tenants.models import CustomRole, Membership, Tenant, User
from tenants.roles import CUSTOM, GRANTABLE, NAMES, NEEDS, Role, can

MOST: Final = 20  # each is a column of the table that the team's page shows
NAME_MOST: Final = 40
PREFIX: Final = f"{CUSTOM}-"


class Held(NamedTuple):
    """What a membership or an invitation stores of its role."""

    role: str
    custom_role: CustomRole | None = None

    @property
    def said(self) -> str:
        """What the audit trail says: the role's code, or the choice and the name of an own one."""
        own = self.custom_role
        return f"{choice_of(own)} ({own.name})" if own else self.role


def choice_of(role: CustomRole) -> str:
    """What stands for the role where one is chosen: `custom-7`."""
    return f"{PREFIX}{role.pk}"


def choices(roles: Collection[CustomRole]) -> list[tuple[str, str]]:
    """The five roles and these, as a choice."""
    return [(role.value, str(role.label)) for role in Role] + [
        (choice_of(role), role.name) for role in roles
    ]


def find(choice: str) -> Held:
    """The role of the tenant in scope that a choice stands for.

    Inside a transaction, to whose end an own role stays: it is held against deletion. Raises
    Refused for what is none.
    """
    if choice in Role.values:
        return Held(choice)
    number = choice.removeprefix(PREFIX)
    if choice != number and number.isascii() and number.isdigit() and len(number) <= 18:
        rows = CustomRole.objects.select_for_update(of=("self",))
        if own := rows.filter(pk=int(number)).first():
            return Held(CUSTOM, own)
    raise Refused(_("There is no such role."), code="bad_role")


def of_tenant(tenant: Tenant) -> QuerySet[CustomRole]:
    """Its own roles by name, with `n_members` and `n_invited`: int, who has it or waits for it."""
    waiting = Q(invitations__isnull=False, invitations__accepted_at=None)
    return tenant.custom_roles.annotate(
        n_members=Count("memberships", distinct=True),
        n_invited=Count("invitations", filter=waiting, distinct=True),
    ).order_by("name")


@transaction.atomic
def create_role(maker: Membership, *, name: str, rights: Collection[str]) -> CustomRole:
    """Define a role for the maker's tenant. Raises Refused.

    For a name that is taken or none, for a right that no own role may hold or the maker has not
    got, for one whose need is missing, and when there are MOST already.
    """
    tenant = Tenant.objects.select_for_update().get(pk=maker.tenant_id)
    if tenant.custom_roles.count() >= MOST:
        text = _("A workspace has up to %(n)s roles of its own.") % {"n": MOST}
        raise Refused(text, code="too_many")
    row = CustomRole(tenant=tenant, name=_name(tenant, name), rights=_rights(maker, rights))
    row.save()
    audit.record(row, "role.created", by=maker.user, name=row.name, rights=row.rights)
    return row


@transaction.atomic
def edit_role(
    role: CustomRole, maker: Membership, *, name: str, rights: Collection[str]
) -> list[str]:
    """Give a role another name or other rights; return what was different.

    Who has it may do more or less with their next request. Raises Refused as `create_role` does.
    """
    tenant = Tenant.objects.select_for_update().get(pk=maker.tenant_id)
    row = _locked(role)
    values = {"name": _name(tenant, name, but=row), "rights": _rights(maker, rights)}
    before = {key: getattr(row, key) for key in values if getattr(row, key) != values[key]}
    for key in before:
        setattr(row, key, values[key])
    if before:
        row.save(update_fields=list(before))
        after = {key: values[key] for key in before}
        audit.record(row, "role.changed", by=maker.user, before=before, after=after)
    return list(before)


@transaction.atomic
def delete_role(role: CustomRole, *, by: User | None) -> None:
    """Remove a role. Raises Refused while somebody has it, or is invited to have it."""
    row = _locked(role)
    if held := why_kept(row.memberships.count(), row.invitations.filter(accepted_at=None).count()):
        raise Refused(held, code="role_in_use")
    audit.record(row, "role.deleted", by=by, name=row.name, rights=row.rights)
    row.delete()


def why_kept(members: int, invited: int) -> str:
    """Why a role with so many holders cannot be deleted; empty when it can."""
    if members:
        return ngettext(
            "%(n)s member has this role. Give them another one first.",
            "%(n)s members have this role. Give them another one first.",
            members,
        ) % {"n": members}
    if invited:
        return ngettext(
            "%(n)s invitation is for this role. Withdraw it first.",
            "%(n)s invitations are for this role. Withdraw them first.",
            invited,
        ) % {"n": invited}
    return ""


def _locked(role: CustomRole) -> CustomRole:
    row = CustomRole.objects.select_for_update(of=("self",)).filter(pk=role.pk).first()
    if row is None:
        raise Refused(_("This role was deleted meanwhile."), code="bad_role")
    return row


def _name(tenant: Tenant, name: str, *, but: CustomRole | None = None) -> str:
    """The name, if it is one that nobody takes for another role's."""
    name = " ".join(name.split())
    if not name or len(name) > NAME_MOST or not name.isprintable():
        raise Refused(_("A role has a name of 1 to 40 characters."), code="bad_name")
    others = tenant.custom_roles.exclude(pk=but.pk) if but else tenant.custom_roles.all()
    taken = {own.casefold() for own in others.values_list("name", flat=True)}
    taken |= {text.casefold() for role in Role for text in (role.value, str(role.label))}
    if name.casefold() in taken:
        raise Refused(_("Another role has this name."), code="name_taken")
    return name


def _rights(maker: Membership, rights: Collection[str]) -> list[str]:
    """The rights in the order of the table. Raises Refused for what may not be given."""
    if beyond := [right for right in rights if right not in GRANTABLE or not can(maker, right)]:
        known = next((str(NAMES[right]) for right in beyond if right in NAMES), beyond[0])
        text = _("No role of yours may be given the right “%(right)s”.") % {"right": known}
        raise Refused(text, code="bad_rights")
    for right in rights:
        need = NEEDS.get(right)
        if need and need not in rights:
            text = _("“%(right)s” takes “%(need)s” as well.")
            values = {"right": NAMES[right], "need": NAMES[need]}
            raise Refused(text % values, code="bad_rights")
    return [right for right in GRANTABLE if right in rights]
