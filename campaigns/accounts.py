"""Adding and keeping sending accounts. One verb each, as in `actions`, where blocking stands."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from agenticos.locking import locked
from campaigns import actions, health, ledger
from campaigns.models import Campaign, Message, SendingAccount
from integrations import connecting
from integrations.connecting import NotTaken
from integrations.models import Connection
from tenants import audit
from tenants.models import Tenant, User

# What a credential that works again puts right. The others (a ban, a person's will) it does not.
SESSION_CODES: Final = frozenset(
    {
        "session_invalid",
        "challenge",
        "permission_missing",
        "account_not_linked",
        "account_not_found",
        "message_access_off",
        "credential_refused",
        "credential_unreadable",
    }
)
PACE: Final = (
    *("day_cap", "hour_cap", "gap_min_s", "gap_max_s", "jitter_percent", "time_zone"),
    *("error_percent", "error_window_min"),
)


@transaction.atomic
def add_account(
    tenant: Tenant,
    *,
    handle: str,
    external_id: str,
    token: str,
    known_as: str,
    by: User | None,
    now: datetime,
) -> SendingAccount:
    """Store an Instagram account whose credential was tried out.

    Raises Refused when the handle, or the account behind it, is there already.
    """
    if SendingAccount.objects.filter(handle=handle).exists():
        raise Refused(_("There is an account with this handle already."), code="handle_taken")
    connection = connecting.add_connection(
        tenant,
        kind=Connection.Kind.INSTAGRAM,
        name=handle,
        external_id=external_id,
        token=token,
        known_as=known_as,
        by=by,
        now=now,
    )
    account = SendingAccount(tenant=tenant, connection=connection, handle=handle)
    try:
        with transaction.atomic():
            account.save()
    except IntegrityError as error:
        raise Refused(
            _("There is an account with this handle already."), code="handle_taken"
        ) from error
    audit.record(account, "account.created", by=by)
    return account


@transaction.atomic
def edit_account(
    account: SendingAccount, values: dict[str, int | str], *, by: User | None, now: datetime
) -> bool:
    """Change an account's pace (`PACE`) and look at it anew; whether anything was changed.

    Caps hold at once, also for what is claimed and not dispatched; what was used today stays
    used.
    """
    links = account.campaign_links.values("campaign")
    # As for a block: settling locks messages before accounts, so it is kept out altogether.
    list(
        Campaign.objects.filter(pk__in=links, state=Campaign.State.RUNNING)
        .order_by("id")
        .select_for_update(of=("self",))
    )
    row = locked(SendingAccount.objects.select_for_update(), account.pk)
    changes = {
        name: values[name] for name in PACE if name in values and getattr(row, name) != values[name]
    }
    if not changes:
        return False
    before = {name: getattr(row, name) for name in changes}
    for name, value in changes.items():
        setattr(row, name, value)
    if row.state == SendingAccount.State.ACTIVE:
        row.next_at = now
    row.save(update_fields=[*changes, "next_at"])
    # What is claimed took its allowance of the caps as they were, so it meets the new ones.
    tally = ledger.Tally()
    health.release_claims(Message.objects.filter(account=row), now, tally)
    tally.write()
    audit.record(row, "account.updated", by=by, before=before, after=changes)
    account.refresh_from_db()
    return True


@transaction.atomic
def renew_credential(
    account: SendingAccount, token: str, known_as: str, *, by: User | None, now: datetime
) -> bool:
    """Store a new token that was tried out; whether that let a blocked account send again."""
    # The account first, then its connection: the order in which a refusal locks them.
    row = (
        SendingAccount.objects.select_related("connection")
        .select_for_update(of=("self",))
        .get(pk=account.pk)
    )
    connecting.replace_secret(row.connection, token, known_as, by=by, now=now)
    # A connection that is switched off stays so, and its account cannot send yet.
    works = row.connection.state == Connection.State.ACTIVE
    blocked = row.state == SendingAccount.State.BLOCKED
    dead = works and blocked and row.block_code in SESSION_CODES
    if dead:
        actions.unblock_account(row, by=by, now=now)
    account.refresh_from_db()
    return dead


def probe_credential(account: SendingAccount, *, by: User | None, now: datetime) -> str:
    """Ask the provider with the stored token; return what it calls the account.

    An account whose token is refused is blocked, as if it had been used. Raises NotTaken.
    """
    secret_set_at = account.connection.secret_set_at
    try:
        return connecting.probe(account.connection, by=by, now=now)
    except NotTaken as refused:
        if connecting.is_refusal(refused.error):
            health.block_for(account.pk, refused.error, now, secret_set_at=secret_set_at)
        raise
