"""The programs' door: who a key belongs to, and what it may do.

A key can do what its scopes **and** its creator's present role both allow, and a token got for it
what both of them may; key, member and tenant are read on every call, so that revoking takes effect
at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from agenticos import scope
from tenants import keys, tokens
from tenants.models import ApiKey, Membership
from tenants.roles import HasRole, can, who_can

USED_EVERY = timedelta(minutes=1)  # how exact "last used" is: a busy key must not write each time
SCHEME = "bearer"

SCOPES: tuple[str, ...] = (
    "leads:read", "leads:write", "campaigns:read", "campaigns:write", "campaigns:launch",
    "inbox:read", "inbox:write", "integrations:read", "integrations:write", "icp:read",
    "icp:write", "exports", "audit:read", "admin",
)  # fmt: skip


# What a role must allow for a scope to be worth anything to it: a person is offered no other.
SCOPE_TAKES: dict[str, str] = {
    "leads:read": "leads.view",
    "leads:write": "leads.edit",
    "campaigns:read": "campaigns.view",
    "campaigns:write": "campaigns.control",
    "campaigns:launch": "campaigns.launch",
    "inbox:read": "messages.view_text",
    "inbox:write": "messages.resolve",
    "integrations:read": "connections.view",
    "integrations:write": "sync.retry",
    "icp:read": "icp.view",
    "icp:write": "icp.edit",
    "exports": "leads.export",
    "audit:read": "audit.view",
    "admin": "members.manage",
}


class NoEntry(Exception):
    """The credential does not open the door: `code` for programs, a sentence for people.

    `key_id` is the row of the key that was meant, where there is one.
    """

    def __init__(self, code: str, sentence: str, key_id: int | None = None) -> None:
        super().__init__(sentence)
        self.code, self.key_id = code, key_id


@dataclass(frozen=True, slots=True)
class Caller:
    """A program that was let in: its key, on whose behalf it acts, and for which scopes.

    `by_token`: it showed a token that it had got for the key, not the key itself.
    """

    key: ApiKey
    membership: Membership
    scopes: frozenset[str]
    by_token: bool = False

    # What REST framework asks of a user.
    is_authenticated = True
    is_active = True

    @property
    def pk(self) -> int:
        return self.key.pk

    def has_scope(self, name: str | None) -> bool:
        """Whether the call has this scope; `admin` stands for all of them, and None takes none."""
        return name is None or holds(self.scopes, name)

    def may(self, scope_name: str | None, action: str) -> bool:
        return self.has_scope(scope_name) and can(self.membership, action)

    def refusal(self, scope_name: str | None, action: str) -> tuple[str, str]:
        """The code and the sentence of why not, for a caller who may not."""
        if not self.has_scope(scope_name):
            text = _("This key was not given the scope “%(scope)s”.") % {"scope": scope_name}
            return "scope_missing", text
        roles = ", ".join(who_can(action))
        text = _("The role of this key's creator does not allow this. It takes: %(roles)s.")
        return "role_not_enough", text % {"roles": roles}


def holds(scopes: Collection[str], name: str) -> bool:
    """Whether scopes contain one, by name or because `admin` stands for all."""
    return name in scopes or "admin" in scopes


def scopes_for(membership: HasRole) -> list[str]:
    """The scopes that a key of this member could make use of."""
    return [name for name in SCOPES if can(membership, SCOPE_TAKES[name])]


def caller_of(header: str, now: datetime) -> Caller:
    """Who calls, out of an Authorization header. Raises NoEntry.

    Members that were removed took their keys with them. A suspended tenant is the caller's to
    check: its keys are good, and it is told why.
    """
    scheme, _space, text = header.strip().partition(" ")
    text = text.strip()
    if scheme.lower() != SCHEME or not text:
        raise NoEntry("not_authenticated", _("Send “Authorization: Bearer aos_…” with a key."))
    if text.count(".") == 2:
        return _by_token(text, now)
    read = keys.read_key(text)
    row = _row(read.public_id) if read is not None else None
    if read is None or row is None or not keys.verify(read.secret, bytes(row.digest)):
        sentence = _("This is not a key of ours. Look for missing characters.")
        raise NoEntry("invalid_key", sentence, row.pk if row else None)
    return Caller(row, _in_force(row, now), frozenset(row.scopes))


def _by_token(text: str, now: datetime) -> Caller:
    """The caller with a token: no more than its key may do at present, and no other tenant."""
    try:
        claims = tokens.read(text)
    except tokens.BadToken as error:
        if error.expired:
            raise NoEntry(
                "token_expired", _("This token has expired. Get another one with the key.")
            ) from None
        raise NoEntry("invalid_token", _("This is not a token of ours.")) from None
    row = _row(claims.key)
    if row is None or row.tenant_id != claims.tenant_id:
        raise NoEntry("invalid_token", _("This is not a token of ours."), row.pk if row else None)
    membership = _in_force(row, now)
    scopes = frozenset(name for name in claims.scopes if holds(row.scopes, name))
    return Caller(row, membership, scopes, by_token=True)


def _row(public_id: str) -> ApiKey | None:
    with scope.as_system("the key of a program, before its tenant is known"):
        return (
            ApiKey.objects.select_related("tenant", "created_by__user", "created_by__custom_role")
            .filter(public_id=public_id)
            .first()
        )


def _in_force(row: ApiKey, now: datetime) -> Membership:
    """On whose behalf the key acts. Raises NoEntry when it does not any more."""
    if row.revoked_at is not None:
        raise NoEntry("key_revoked", _("This key has been revoked. Make another one."), row.pk)
    if row.expires_at <= now:
        raise NoEntry("key_expired", _("This key has expired. Make another one."), row.pk)
    membership = row.created_by
    if not membership.user.is_active or membership.tenant_id != row.tenant_id:
        raise NoEntry("key_owner_inactive", _("The person who made this key has left."), row.pk)
    membership.tenant = row.tenant
    _note_use(row, now)
    return membership


def _note_use(row: ApiKey, now: datetime) -> None:
    if row.last_used_at is not None and row.last_used_at > now - USED_EVERY:
        return
    with scope.as_tenant(row.tenant_id), transaction.atomic():
        old = Q(last_used_at=None) | Q(last_used_at__lte=now - USED_EVERY)
        # Of many calls at one moment one notes it; the others have nothing to wait for.
        free = ApiKey.objects.select_for_update(skip_locked=True).filter(old, pk=row.pk)
        ApiKey.objects.filter(pk__in=free).update(last_used_at=now)
