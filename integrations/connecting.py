"""Connections as people keep them: tried against the provider first, then stored, and audited.

A call stands between two transactions, never in one. A credential that its provider does not take
is not stored, and is named in no log, page or audit entry.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext as _, gettext_lazy

from agenticos.errors import Refused
from agenticos.locking import locked
from integrations.delivery import TROUBLE
from integrations.errors import Fault, ProviderError, Rejected
from integrations.models import Connection
from integrations.registry import adapter_of
from tenants import audit
from tenants.crypto import CannotOpen
from tenants.models import Tenant, User

MOST_S: Final = 8.0  # a person waits for the answer
CANNOT_OPEN: Final = "credential_unreadable"

# What an error means for somebody who tests a credential: nothing is tried again by itself here.
_MEANS: dict[str, Promise] = {
    "connect_failed": gettext_lazy(
        "The provider could not be reached. Check this machine's network, then test again."
    ),
    "no_answer": gettext_lazy("The provider did not answer in time. Test again in a minute."),
    "connection_cut": gettext_lazy("The connection broke before an answer came. Test again."),
    "garbage_answer": gettext_lazy(
        "The provider's answer could not be read, so the test says nothing. Test again."
    ),
    "provider_fault": gettext_lazy(
        "The provider reported a fault of its own, so the test says nothing. Test again later."
    ),
    "provider_unavailable": gettext_lazy(
        "The provider is not available right now. Test again in some minutes."
    ),
    "provider_temporary": gettext_lazy(
        "The provider reports a temporary fault. Test again in some minutes."
    ),
    "rate_limited": gettext_lazy(
        "The provider asks for a slower pace. Wait a minute, then test again."
    ),
    "session_invalid": gettext_lazy(
        "The provider does not accept this token: it has expired, was revoked, or was copied "
        "incompletely. Make a new one and enter it here."
    ),
    CANNOT_OPEN: gettext_lazy(
        "The stored credential cannot be opened with this system's keys. Enter it once more."
    ),
}


class NotTaken(Exception):
    """The provider did not take a credential, or nobody knows. The text is a full sentence.

    `error` says what the provider answered; its `detail` holds no secrets.
    """

    def __init__(self, error: ProviderError) -> None:
        super().__init__(meaning(error.code, error.sentence))
        self.error = error


def meaning(code: str, sentence: str) -> str:
    """What an error of a test means, in the reader's language; `sentence` is the error's msgid."""
    if code in _MEANS:
        return str(_MEANS[code])
    return gettext(sentence) if sentence else code


def try_out(kind: str, external_id: str, token: str) -> str:
    """Ask the provider with this credential; return what it calls the account.

    Makes one call, outside any transaction. Raises NotTaken.
    """
    try:
        return _check(kind, external_id, token)
    except ProviderError as error:
        refused = NotTaken(error)
    raise refused


def _check(kind: str, external_id: str, token: str) -> str:
    deadline_s = min(MOST_S, float(settings.HTTP_TIMEOUT_S))
    return adapter_of(kind, external_id, token, deadline_s=deadline_s).check()[:120]


@transaction.atomic
def add_connection(
    tenant: Tenant,
    *,
    kind: str,
    name: str,
    external_id: str,
    token: str,
    known_as: str,
    by: User | None,
    now: datetime,
) -> Connection:
    """Store a connection whose credential was tried out; `known_as` is what `try_out` gave.

    Raises Refused when the external account is connected already, whoever has it.
    """
    row = Connection(
        tenant=tenant,
        kind=kind,
        name=name,
        external_id=external_id,
        known_as=known_as,
        ok_at=now,
    )
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise Refused(
            _("This account is connected already. Replace its credential where it is connected."),
            code="already_connected",
        ) from error
    row.set_secret(token=token)
    audit.record(row, "connection.created", by=by, kind=kind)
    return row


@transaction.atomic
def replace_secret(
    connection: Connection, token: str, known_as: str, *, by: User | None, now: datetime
) -> None:
    """Store a new credential that was tried out; a broken connection works again.

    One that is switched off stays off.
    """
    row = locked(Connection.objects.select_for_update(), connection.pk)
    was_off = row.state == Connection.State.OFF
    row.set_secret(token=token)
    row.known_as, row.ok_at = known_as, now
    if was_off:
        row.state = Connection.State.OFF
    row.save(update_fields=["known_as", "ok_at", "state"])
    audit.record(row, "connection.credential_changed", by=by)
    connection.refresh_from_db()


def probe(connection: Connection, *, by: User | None, now: datetime) -> str:
    """Ask the provider with the stored credential, and keep what it says; return its name for us.

    A connection that was broken works again when the provider takes it; one whose credential the
    provider refuses is called broken. Raises NotTaken.
    """
    secret_set_at = connection.secret_set_at
    name = ""
    error: ProviderError | None = None
    try:
        token = str(connection.reveal()["token"])
        name = _check(connection.kind, connection.external_id, token)
    except (CannotOpen, KeyError):
        error = Rejected(CANNOT_OPEN, "", fault=Fault.ACCOUNT)
    except ProviderError as failure:
        error = failure
    with transaction.atomic():
        row = locked(Connection.objects.select_for_update(), connection.pk)
        if row.secret_set_at == secret_set_at:
            _note(row, name, error, by=by, now=now)
    connection.refresh_from_db()
    if error is not None:
        raise NotTaken(error)
    return name


def is_refusal(error: ProviderError) -> bool:
    """Whether the provider says that the credential itself is no good (any more)."""
    return isinstance(error, Rejected) and error.fault is Fault.ACCOUNT


def _note(
    row: Connection, name: str, error: ProviderError | None, *, by: User | None, now: datetime
) -> None:
    """Keep what a test of the stored credential brought."""
    if error is not None:
        row.note_trouble(error, now)
        row.save(update_fields=TROUBLE)
        if is_refusal(error) and row.state == Connection.State.ACTIVE:
            row.mark_broken(error.code[:60])
            audit.record(row, "connection.broken", by=by, code=error.code)
        return
    row.known_as, row.ok_at = name, now
    if row.state == Connection.State.BROKEN:
        row.state, row.broken_code, row.broken_at = Connection.State.ACTIVE, "", None
        audit.record(row, "connection.mended", by=by)
    row.save(update_fields=["known_as", "ok_at", "state", "broken_code", "broken_at"])


@transaction.atomic
def switch(connection: Connection, *, on: bool, by: User | None, now: datetime) -> None:
    """Switch a connection off, or on again. Raises Refused when it is so already."""
    row = locked(Connection.objects.select_for_update(), connection.pk)
    if (row.state != Connection.State.OFF) == on:
        raise Refused(
            _("This connection is on already.") if on else _("This connection is off already."),
            code="wrong_state",
        )
    row.state, row.broken_code, row.broken_at = Connection.State.OFF, "", None
    if on:
        row.state = Connection.State.ACTIVE
    row.save(update_fields=["state", "broken_code", "broken_at"])
    audit.record(row, "connection.switched_on" if on else "connection.switched_off", by=by)
    connection.refresh_from_db()
