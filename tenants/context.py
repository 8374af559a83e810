"""What the frame of every page needs: the tenant, the rights, the bell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise, SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from tenants import notifications
from tenants.models import Membership, Tenant
from tenants.roles import ACTIONS, can, who_can


@dataclass(frozen=True, slots=True)
class Place:
    """A page of the main menu: its name, its key after `g`, and the right to look at it.

    `menu` is where it stands: in the row of the header, or in the workspace's own menu.
    """

    label: Promise
    route: str
    icon: str
    key: str
    right: str = "tenant.view"
    menu: str = "main"

    def href(self, tenant: Tenant) -> str:
        return reverse(self.route, args=[tenant.slug])

    @property
    def room(self) -> str:
        """The app whose pages belong to this place."""
        return self.route.partition(":")[0]


PLACES = (
    Place(_("Home"), "tenant-home", "home", "h"),
    Place(_("Campaigns"), "campaigns:list", "speakerphone", "c", "campaigns.view"),
    Place(_("Leads"), "leads:list", "users", "l", "leads.view"),
    Place(_("Templates"), "templates:list", "file-text", "t", "campaigns.view"),
    Place(_("ICP"), "icp:editor", "target", "i", "icp.view"),
    Place(_("Accounts"), "accounts:list", "at", "a", "accounts.view"),
    Place(_("Integrations"), "integrations:list", "plug-connected", "n", "connections.view"),
    Place(_("Notifications"), "notifications:list", "bell", "b", menu="bell"),
    Place(_("Team"), "team:list", "users-group", "m", menu="tenant"),
    Place(_("API keys"), "keys:list", "key", "k", "keys.manage", menu="tenant"),
    Place(_("Audit trail"), "audit:list", "shield-check", "u", "audit.view", menu="tenant"),
    Place(_("Operations"), "ops:page", "heartbeat", "o", "ops.view", menu="tenant"),
    Place(_("Settings"), "settings:settings", "settings", "s", menu="tenant"),
)


def places(membership: Membership | None) -> list[Place]:
    """The places that the member may look at."""
    return [place for place in PLACES if can(membership, place.right)]


class Rights:
    """`rights.campaigns_launch` in a template: whether the member may do campaigns.launch."""

    def __init__(self, membership: Any) -> None:
        self._membership = membership

    def __getitem__(self, name: str) -> bool:
        action = name.replace("_", ".", 1)
        if action not in ACTIONS:
            raise KeyError(name)
        return can(self._membership, action)


class WhoCan:
    """`who_can.campaigns_launch` in a template: the names of the roles that may do it."""

    def __getitem__(self, name: str) -> str:
        return ", ".join(who_can(name.replace("_", ".", 1)))


def shell(request: HttpRequest) -> dict[str, Any]:
    """`tenant`, `membership`, `rights`, `who_can`, `places` and `bell` for a tenant's pages.

    The bell asks the database when the frame shows it, so live parts do not pay for it.
    """
    membership = getattr(request, "membership", None)
    return {
        "places": places(membership),
        "bell": SimpleLazyObject(lambda: notifications.bell(membership)),
        "tenant": getattr(request, "tenant", None),
        "membership": membership,
        "rights": Rights(membership),
        "who_can": WhoCan(),
    }
