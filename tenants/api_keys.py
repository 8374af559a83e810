"""What people do with the keys of programs: make, revoke and rotate them. Audited, by id alone."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from tenants import audit, keys
from tenants.authentication import SCOPES, scopes_for
from tenants.models import ApiKey, Membership, User
from tenants.roles import can

logger = logging.getLogger(__name__)
DAYS: Final = 90
DAYS_MOST: Final = 365
OVERLAP_HOURS_MOST: Final = 24


@transaction.atomic
def create_key(
    member: Membership,
    *,
    name: str,
    scopes: Collection[str],
    days: int,
    by: User | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key that acts for `member`; return its row and its text, which is never seen again.

    Raises Refused for a scope that the member's present role has no use for, for a name that
    another key in force has, for a life outside of 1 to 365 days, and for a member who is gone.
    """
    member = _locked(member)
    if not 1 <= days <= DAYS_MOST:
        raise Refused(_("A key lives for 1 to 365 days."), code="bad_days")
    if not scopes or set(scopes) - set(scopes_for(member)):
        raise Refused(_("A key takes scopes, of those that your role allows."), code="bad_scopes")
    row, text = _make(member, name, scopes, now + timedelta(days=days), now)
    audit.record(row, "api_key.created", by=by, scopes=row.scopes)
    _log("created", row, by)
    return row, text


@transaction.atomic
def revoke_key(key: ApiKey, *, by: User | None, now: datetime) -> None:
    """End a key with the next call of its program. Raises Refused when it has been ended before."""
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
        raise Refused(_("This key has been revoked already."), code="already_revoked")
    key.revoked_at = now
    audit.record(key, "api_key.revoked", by=by)
    _log("revoked", key, by)


@transaction.atomic
def rotate_key(
    key: ApiKey, *, overlap_hours: int, by: User | None, now: datetime
) -> tuple[ApiKey, str]:
    """Make a key like this one, which itself ends after the overlap; return the new row and text.

    The new one has the name, the length of life, and of the scopes those that its creator's
    present role has a use for. A key acts for who made it, so nobody else may rotate it. Raises
    Refused for that, for a key that is over or was rotated before, and an overlap beyond 24 h.
    """
    if not 0 <= overlap_hours <= OVERLAP_HOURS_MOST:
        raise Refused(_("The old key may go on for up to 24 hours."), code="bad_overlap")
    old = ApiKey.objects.select_for_update(of=("self",)).get(pk=key.pk)
    if not old.is_in_force(now) or old.replaced_at is not None:
        raise Refused(
            _("Only a key that is in force can be rotated, and once."), code="not_in_force"
        )
    member = _locked(old.created_by)
    if by is None or member.user_id != by.pk:
        raise Refused(
            _("A key acts for the person who made it, so only they may rotate it."),
            code="not_yours",
        )
    scopes = [name for name in old.scopes if name in scopes_for(member)]
    if not scopes:
        raise Refused(_("Your role allows none of this key's scopes any more."), code="bad_scopes")
    old.replaced_at = now
    old.expires_at = min(old.expires_at, now + timedelta(hours=overlap_hours))
    old.save(update_fields=["replaced_at", "expires_at"])
    life = min(key.expires_at - key.created_at, timedelta(days=DAYS_MOST))
    row, text = _make(member, old.name, scopes, now + life, now)
    audit.record(row, "api_key.rotated", by=by, replaces=old.pk, overlap_hours=overlap_hours)
    _log("rotated", row, by)
    return row, text


def visible_keys(member: Membership) -> models.QuerySet[ApiKey]:
    """The keys that a member may see: their own, or all of the workspace's; the newest first."""
    rows = ApiKey.objects.select_related("created_by__user", "created_by__custom_role").order_by(
        "-pk"
    )
    return rows if can(member, "keys.oversee") else rows.filter(created_by=member)


def _locked(member: Membership) -> Membership:
    """The member with the present role, who stays what they are until the key is made."""
    rows = Membership.objects.select_related("custom_role").select_for_update(of=("self",))
    found = rows.filter(pk=member.pk).first()
    if found is None or not can(found, "keys.manage"):
        raise Refused(_("Your role does not allow keys any more."), code="role_not_enough")
    return found


def _make(
    member: Membership, name: str, scopes: Collection[str], expires_at: datetime, now: datetime
) -> tuple[ApiKey, str]:
    made = keys.make_key()
    # A name is free again once its key has expired.
    living = ApiKey.objects.filter(name=name, revoked_at=None, replaced_at=None)
    living.filter(expires_at__lte=now).update(replaced_at=now)
    try:
        with transaction.atomic():
            row = ApiKey.objects.create(
                tenant_id=member.tenant_id,
                name=name,
                public_id=made.public_id,
                digest=made.digest,
                last_four=made.last_four,
                scopes=[name for name in SCOPES if name in scopes],
                created_by=member,
                expires_at=expires_at,
            )
    except IntegrityError:
        raise Refused(_("Another key has this name."), code="name_taken") from None
    return row, made.text


def _log(verb: str, key: ApiKey, by: User | None) -> None:
    words = (verb, key.tenant_id, key.pk, by and by.pk)
    transaction.on_commit(lambda: logger.info("key.%s tenant=%s key=%s by=%s", *words))
