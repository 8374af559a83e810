"""Who may do what: one table, asked by pages, parts, programs and commands alike.

Beside the five roles of the table a tenant may define roles of its own (`models.CustomRole`): a
name and the rights that it has. `can` answers for both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a member is to the tenant."""

    OWNER = "owner", _("Owner")
    MANAGER = "manager", _("Manager")
    OPERATOR = "operator", _("Operator")
    REVIEWER = "reviewer", _("Reviewer")
    VIEWER = "viewer", _("Viewer")


# What stands in the place of a role's name where the tenant's own role says what may be done. To
# code that knows the five alone it is an unknown role, which may do nothing.
CUSTOM = "custom"
STORED = [*Role.choices, (CUSTOM, _("Role of the workspace's own"))]

_EVERYBODY = frozenset(Role)
_OWNER = frozenset({Role.OWNER})
_MANAGERS = frozenset({Role.OWNER, Role.MANAGER})
_OPERATORS = _MANAGERS | {Role.OPERATOR}
_REVIEWERS = _OPERATORS | {Role.REVIEWER}

ACTIONS: dict[str, frozenset[Role]] = {
    "tenant.view": _EVERYBODY,
    "tenant.stop": _OPERATORS,
    "tenant.edit": _MANAGERS,
    "campaigns.view": _EVERYBODY,
    "campaigns.edit": _OPERATORS,
    "campaigns.launch": _MANAGERS,
    "campaigns.control": _OPERATORS,  # pause and stop: the brake is near everybody who works
    "campaigns.resume": _MANAGERS,
    "messages.view_text": _REVIEWERS,
    "messages.resolve": _OPERATORS,
    "messages.test": _OPERATORS,  # to the recipient that a manager has set, to nobody else
    "leads.view": _EVERYBODY,
    "leads.edit": _OPERATORS,
    "leads.import": _OPERATORS,
    "leads.export": _MANAGERS,
    "leads.disclose": _MANAGERS,  # all that is known of one person, for that person
    "leads.free": _MANAGERS,  # let somebody be written to again who was not to be
    "leads.erase": _MANAGERS,  # remove what is known of a person for good
    "leads.share_views": _MANAGERS,  # change or remove a view that somebody else shares
    "icp.view": _EVERYBODY,
    "icp.edit": _MANAGERS,
    "accounts.view": _EVERYBODY,
    "accounts.edit": _MANAGERS,
    "connections.view": _MANAGERS,
    "sync.retry": _MANAGERS,
    "connections.manage": _OWNER,
    "members.manage": _OWNER,
    "privacy.manage": _OWNER,  # how long things are kept: what is older goes for good
    "keys.manage": _MANAGERS,  # one's own
    "keys.oversee": _OWNER,  # see and revoke what others made
    "audit.view": _MANAGERS,
    "ops.view": _MANAGERS,
}


# Every role begins with what a viewer may see: pages show campaigns, leads and accounts together.
BASE = frozenset(action for action, roles in ACTIONS.items() if Role.VIEWER in roles)
# What a tenant's own role may be given besides. Not `members.manage`: it would be another owner.
GRANTABLE = tuple(action for action in ACTIONS if action not in BASE and action != "members.manage")
# What a right is worth nothing without, or shows by its nature: who writes a text reads it, the
# entries of the CRM and what is known of a person contain the texts.
NEEDS: dict[str, str] = {
    "campaigns.edit": "messages.view_text",
    "messages.test": "messages.view_text",
    "leads.disclose": "messages.view_text",
    "connections.view": "messages.view_text",
    "connections.manage": "connections.view",
    "sync.retry": "connections.view",
    "keys.oversee": "keys.manage",
}

# What the rights are called for people, in the order in which they are shown.
NAMES: dict[str, Promise] = {
    "tenant.view": _("See the workspace"),
    "campaigns.view": _("See campaigns and their numbers"),
    "messages.view_text": _("Read message texts"),
    "leads.view": _("See leads"),
    "icp.view": _("See the ICP"),
    "accounts.view": _("See sending accounts"),
    "tenant.stop": _("Stop all sending"),
    "campaigns.control": _("Pause and stop campaigns"),
    "campaigns.edit": _("Write campaigns and templates"),
    "messages.test": _("Send test messages"),
    "messages.resolve": _("Resolve and retry messages"),
    "leads.edit": _("Edit leads"),
    "leads.import": _("Import leads"),
    "campaigns.launch": _("Start campaigns"),
    "campaigns.resume": _("Resume campaigns, lift the stop"),
    "leads.export": _("Export leads"),
    "leads.disclose": _("Export what is known of one person"),
    "leads.free": _("Lift a do-not-contact mark"),
    "leads.erase": _("Erase people for good"),
    "leads.share_views": _("Change views that others share"),
    "icp.edit": _("Publish ICP versions"),
    "accounts.edit": _("Manage sending accounts"),
    "connections.view": _("See integrations"),
    "sync.retry": _("Retry and discard what did not reach the CRM"),
    "tenant.edit": _("Change the settings"),
    "audit.view": _("Read the audit trail"),
    "ops.view": _("See how the work goes, and have the data checked"),
    "connections.manage": _("Manage integrations and their credentials"),
    "members.manage": _("Manage members"),
    "privacy.manage": _("Say how long things are kept"),
    "keys.manage": _("Make API keys"),
    "keys.oversee": _("See and revoke the API keys of others"),
}


class HasRights(Protocol):
    """A tenant's own role, as far as rights go."""

    @property
    def rights(self) -> Collection[str]: ...


class HasRole(Protocol):
    """A membership, as far as rights go."""

    @property
    def role(self) -> str: ...

    @property
    def custom_role(self) -> HasRights | None: ...


def can(membership: HasRole | None, action: str) -> bool:
    """Whether the member may do `action`. An unknown action raises KeyError: it is closed."""
    roles = ACTIONS[action]
    if membership is None:
        return False
    if membership.role == CUSTOM:
        own = membership.custom_role
        return own is not None and may_hold(own.rights, action)
    return membership.role in roles


def may_hold(rights: Collection[str], action: str) -> bool:
    """Whether an own role with these rights may do `action`, whatever else stands in its row."""
    return action in BASE or (action in GRANTABLE and action in rights)


def is_trusted(membership: HasRole) -> bool:
    """Whether the member may do what operators may not; a second factor is asked of who may."""
    return any(
        can(membership, action) for action, roles in ACTIONS.items() if Role.OPERATOR not in roles
    )


def who_can(action: str) -> list[str]:
    """The names of the roles that may do `action`, for the sentence beside a disabled control."""
    return [str(role.label) for role in Role if role in ACTIONS[action]]
