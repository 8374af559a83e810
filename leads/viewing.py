"""Saved views of the lead list: who sees which, and what is done to them."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from leads.models import SavedView
from tenants import audit
from tenants.models import Membership, Tenant, User
from tenants.roles import can

VIEWS_MAX = 50


def views_for(tenant: Tenant, user: User) -> QuerySet[SavedView]:
    """The views a person sees: their own, and those that others share."""
    return tenant.saved_views.filter(Q(owner=user) | Q(shared=True)).order_by("name", "pk")


def may_change(view: SavedView, member: Membership) -> bool:
    """Its owner may; managers may, too, where others depend on it."""
    return view.owner_id == member.user_id or can(member, "leads.share_views")


@transaction.atomic
def save_view(
    tenant: Tenant, *, name: str, query: str, shared: bool, pinned: bool, by: User
) -> SavedView:
    """Keep a list under a name. Raises Refused when there is one of that name, or too many."""
    if tenant.saved_views.filter(owner=by).count() >= VIEWS_MAX:
        raise Refused(
            _("You have %(limit)s views. Delete one first.") % {"limit": VIEWS_MAX},
            code="too_many_views",
        )
    view = SavedView(tenant=tenant, owner=by, query=query, shared=shared, pinned=pinned)
    _name(view, name)
    audit.record(view, "view.saved", by=by, shared=shared)
    return view


@transaction.atomic
def change_view(view: SavedView, *, name: str, shared: bool, pinned: bool, by: User) -> None:
    """Rename, share or pin a view. Raises Refused when its owner has one of that name."""
    view.shared, view.pinned = shared, pinned
    _name(view, name)
    audit.record(view, "view.changed", by=by, shared=shared)


@transaction.atomic
def update_view(view: SavedView, *, query: str, by: User) -> None:
    """Let the view show what the address shows now."""
    view.query = query
    view.save(update_fields=["query"])
    audit.record(view, "view.changed", by=by, shared=view.shared)


@transaction.atomic
def delete_view(view: SavedView, *, by: User) -> None:
    """Remove a view; the leads stay as they are."""
    audit.record(view, "view.deleted", by=by, shared=view.shared)
    view.delete()


def _name(view: SavedView, name: str) -> None:
    view.name = name
    try:
        with transaction.atomic():
            # What the view shows may be changed in another tab meanwhile.
            view.save(update_fields=["name", "shared", "pinned"] if view.pk else None)
    except IntegrityError as error:
        raise Refused(_("There is a view of this name already."), code="view_exists") from error
