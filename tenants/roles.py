"""Who may do what: one table, asked by pages, parts, programs and commands alike."""

from __future__ import annotations

from typing import Protocol

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a member is to the tenant."""

    OWNER = "owner", _("Owner")
    MANAGER = "manager", _("Manager")
    OPERATOR = "operator", _("Operator")
    REVIEWER = "reviewer", _("Reviewer")
    VIEWER = "viewer", _("Viewer")


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


class HasRole(Protocol):
    """A membership, as far as rights go."""

    role: str


def can(membership: HasRole | None, action: str) -> bool:
    """Whether the member may do `action`. An unknown action raises KeyError: it is closed."""
    roles = ACTIONS[action]
    return membership is not None and membership.role in roles


def who_can(action: str) -> list[str]:
    """The names of the roles that may do `action`, for the sentence beside a disabled control."""
    return [str(role.label) for role in Role if role in ACTIONS[action]]
