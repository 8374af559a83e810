"""The programs' door: who a key belongs to, and what it may do.

A key can do what its scopes **and** its creator's present role both allow; key, member and tenant
are read on every call, so that revoking takes effect at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils.translation import gettext as _

from agenticos import scope
from tenants import keys
from tenants.models import ApiKey, Membership
from tenants.roles import can, who_can

USED_EVERY = timedelta(minutes=1)  # how exact "last used" is: a busy key must not write each time
SCHEME = "bearer"

SCOPES: tuple[str, ...] = (
    "leads:read", "leads:write", "campaigns:read", "campaigns:write", "campaigns:launch",
    "inbox:read", "inbox:write", "integrations:read", "integrations:write", "icp:read",
    "icp:write", "exports", "audit:read", "admin",
)  # fmt: skip


class NoEntry(Exception):
    """The credential does not open the door: `code` for programs, a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Caller:
    """A program that was let in: its key, and on whose behalf it acts."""

    key: ApiKey
    membership: Membership

    # What REST framework asks of a user.
    is_authenticated = True
    is_active = True

    @property
    def pk(self) -> int:
        return self.key.pk

    def has_scope(self, name: str) -> bool:
        """Whether the key was given this scope; `admin` stands for all of them."""
        return name in self.key.scopes or "admin" in self.key.scopes

    def may(self, scope_name: str, action: str) -> bool:
        return self.has_scope(scope_name) and can(self.membership, action)

    def refusal(self, scope_name: str, action: str) -> tuple[str, str]:
        """The code and the sentence of why not, for a caller who may not."""
        if not self.has_scope(scope_name):
            text = _("This key was not given the scope “%(scope)s”.") % {"scope": scope_name}
            return "scope_missing", text
        roles = ", ".join(who_can(action))
        text = _("The role of this key's creator does not allow this. It takes: %(roles)s.")
        return "role_not_enough", text % {"roles": roles}


def caller_of(header: str, now: datetime) -> Caller:
    """Who calls, out of an Authorization header. Raises NoEntry.

    Members that were removed took their keys with them. A suspended tenant is the caller's to
    check: its keys are good, and it is told why.
    """
    scheme, _space, text = header.strip().partition(" ")
    if scheme.lower() != SCHEME or not text.strip():
        raise NoEntry("not_authenticated", _("Send “Authorization: Bearer aos_…” with a key."))
    read = keys.read_key(text.strip())
    row = None
    if read is not None:
        with scope.as_system("the key of a program, before its tenant is known"):
            row = (
                ApiKey.objects.select_related("tenant", "created_by__user")
                .filter(public_id=read.public_id)
                .first()
            )
    if read is None or row is None or not keys.verify(read.secret, bytes(row.digest)):
        raise NoEntry("invalid_key", _("This is not a key of ours. Look for missing characters."))
    if row.revoked_at is not None:
        raise NoEntry("key_revoked", _("This key has been revoked. Make another one."))
    if row.expires_at <= now:
        raise NoEntry("key_expired", _("This key has expired. Make another one."))
    membership = row.created_by
    if not membership.user.is_active or membership.tenant_id != row.tenant_id:
        raise NoEntry("key_owner_inactive", _("The person who made this key has left."))
    membership.tenant = row.tenant
    _note_use(row, now)
    return Caller(row, membership)


def _note_use(row: ApiKey, now: datetime) -> None:
    if row.last_used_at is not None and row.last_used_at > now - USED_EVERY:
        return
    with scope.as_tenant(row.tenant_id):
        old = Q(last_used_at=None) | Q(last_used_at__lte=now - USED_EVERY)
        ApiKey.objects.filter(old, pk=row.pk).update(last_used_at=now)
