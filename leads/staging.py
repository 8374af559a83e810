"""The import wizard: upload, columns, rehearsal, commit. Nothing touches leads before the last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import BinaryIO, Final, cast

from django.core.files import File
from django.db import transaction
from django.utils.translation import gettext as _

from agenticos import queue, scope
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE
from leads import actions, importing, intake
from leads.identities import fold
from leads.models import ImportMapping, LeadImport
from tenants import audit
from tenants.models import Tenant, User

State = LeadImport.State
# An import that has touched no lead, and that no person has let do so.
UNCOMMITTED: Final = (State.DRAFT, State.REHEARSING, State.READY, State.FAILED)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the columns are taken for until a person says otherwise."""

    mapping: dict[int, str]
    policy: str
    policies: dict[str, str]  # by field, where another one holds
    remembered: bool


def stage_import(
    tenant: Tenant, file: File[bytes] | BinaryIO, file_name: str, *, by: User | None, now: datetime
) -> LeadImport:
    """Store a CSV file as a draft. Raises Refused when it is no text in columns, or over 64 MB."""
    stream = cast(BinaryIO, file)
    try:
        dialect = importing.sniff_stream(stream)
    except importing.BadFile as error:
        raise Refused(error.sentence, code=error.code) from error
    size = stream.seek(0, 2)
    headers = importing.peek(stream, dialect).headers
    stream.seek(0)
    row = LeadImport(
        tenant=tenant,
        file_name=PurePath(file_name).name[:200],
        state=State.DRAFT,
        dialect=dialect.to_json(),
        headers=headers,
        size=size,
        started_by=by,
    )
    with intake.storing(row, file):
        row.save()
        audit.record(row, "import.uploaded", by=by, bytes=size, columns=len(headers))
    return row


def look(row: LeadImport) -> importing.Peek:
    """The columns and first rows of an import's file, read as its dialect says."""
    try:
        with row.file.open("rb") as stream:
            return importing.peek(cast(BinaryIO, stream), importing.Dialect(**row.dialect))
    except FileNotFoundError:
        return importing.Peek(fault=importing.BadFile("file_gone"))


@transaction.atomic
def read_as(row: LeadImport, *, encoding: str, delimiter: str) -> None:
    """Read a draft's file in another way than guessed. Raises Refused if it is no draft."""
    _hold(row, State.DRAFT)
    try:
        with row.file.open("rb") as file:
            stream = cast(BinaryIO, file)
            dialect = importing.dialect_as(stream, encoding=encoding, delimiter=delimiter)
            headers = importing.peek(stream, dialect).headers
    except FileNotFoundError as error:
        raise Refused(importing.sentence_for("file_gone"), code="file_gone") from error
    row.dialect, row.headers = dialect.to_json(), headers
    row.save(update_fields=["dialect", "headers"])


def offer(headers: Sequence[str], *, guess: bool = False) -> Offer:
    """What these columns were last time; else, or with `guess`, what their names say."""
    known = None if guess else ImportMapping.objects.filter(columns=key_of(headers)).first()
    if known is None:
        return Offer(importing.guess_mapping(headers), LeadImport.Policy.OVERWRITE, {}, False)
    names = [fold(header) for header in headers]
    mapping = {at: known.mapping[name] for at, name in enumerate(names) if name in known.mapping}
    return Offer(mapping, known.policy, known.policies, True)


def key_of(headers: Sequence[str]) -> str:
    """The same for the same columns in any order: 64 hex digits."""
    names = "\n".join(sorted(fold(header) for header in headers))
    return hashlib.sha256(names.encode()).hexdigest()


@transaction.atomic
def start_rehearsal(
    row: LeadImport,
    *,
    mapping: Mapping[int, str],
    policy: str = LeadImport.Policy.OVERWRITE,
    policies: Mapping[str, str] | None = None,
    list_name: str = "",
    by: User | None,
    now: datetime,
) -> None:
    """Have the workers count what an import would do; remembers the columns for next time.

    `mapping` goes from column number (0 is the first) to field, `policies` from field to policy
    where it is not `policy`. Raises Refused when it is no draft any more, cannot be read, or no
    column holds handles.
    """
    list_name = intake.clean_list_name(list_name)
    policies = intake.clean_policies(policies or {}, policy)
    _hold(row, State.DRAFT)
    try:
        with row.file.open("rb") as stream:
            headers = intake.check(
                cast(BinaryIO, stream), importing.Dialect(**row.dialect), mapping
            ).headers
    except FileNotFoundError as error:
        raise Refused(importing.sentence_for("file_gone"), code="file_gone") from error
    ImportMapping.objects.update_or_create(
        columns=key_of(headers),
        defaults={
            "tenant_id": row.tenant_id,
            "mapping": {fold(headers[at]): target for at, target in mapping.items()},
            "policy": policy,
            "policies": policies,
            "saved_at": now,
        },
    )
    row.move_to(
        State.REHEARSING,
        headers=headers,
        mapping={str(at): target for at, target in sorted(mapping.items())},
        policy=policy,
        policies=policies,
        list_name=list_name,
        due_at=now,
        **intake.AT_THE_BEGINNING,
    )
    audit.record(row, "import.rehearsal_started", by=by, columns=len(mapping), policy=policy)
    _ring()


@transaction.atomic
def reopen(row: LeadImport, *, by: User | None) -> None:
    """Go back to the columns; a rehearsal under way is broken off. Raises Refused after commit."""
    if row.state != State.DRAFT:
        row.move_to(State.DRAFT, **NO_LEASE)
        audit.record(row, "import.reopened", by=by)


def seen_of(row: LeadImport) -> str:
    """What tells one rehearsal from another: 16 hex digits; the same while nothing differs."""
    facts = [row.dialect, row.mapping, row.policy, row.policies, row.list_name]
    facts.append(intake.counts_of(row))
    text = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@transaction.atomic
def commit_import(row: LeadImport, *, seen: str = "", by: User | None, now: datetime) -> None:
    """Have the workers do what was rehearsed. Raises Refused when it was not, or was before.

    `seen` is `seen_of` the rehearsal that a person looked at; Refused when it was another.
    """
    if seen and seen != seen_of(row):
        raise Refused(
            _("Somebody else changed this a moment ago. Look at it again."), code="changed"
        )
    actions.ensure_icp(row.tenant, by=by, now=now)
    row.move_to(
        State.WAITING,
        rehearsal=intake.counts_of(row),
        committed_at=now,
        due_at=now,
        **intake.AT_THE_BEGINNING,
    )
    audit.record(row, "import.started", by=by, bytes=row.size, columns=len(row.mapping))
    _ring()


@transaction.atomic
def discard_import(row: LeadImport, *, by: User | None) -> None:
    """Remove an import that has touched no lead, with its file. Raises Refused if it has."""
    held = _hold(row, *UNCOMMITTED)
    if held.committed_at is not None:
        raise Refused(
            _("This import has changed leads already. Undo it instead."), code="import_committed"
        )
    audit.record(held, "import.discarded", by=by, records=held.records)
    file = held.file
    transaction.on_commit(lambda: file.delete(save=False))
    held.delete()


def _hold(row: LeadImport, *states: str) -> LeadImport:
    """The row of this moment, held until the transaction ends. Raises Refused in other states."""
    held = LeadImport.objects.select_for_update().filter(pk=row.pk, state__in=states).first()
    if held is None:
        raise Refused(
            _("Somebody else changed this a moment ago. Look at it again."), code="changed"
        )
    return held


def _ring() -> None:
    with scope.as_nobody():
        queue.enqueue("leads.tasks.import_slice")
