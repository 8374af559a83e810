"""The work of an import, chunk by chunk: read on in the file, write, move the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import BinaryIO, Final, cast

from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _

from agenticos import leasing
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE, LeaseLost
from agenticos.sql import insert_many
from leads import importing
from leads.models import ImportProblem, LeadImport, LeadTag
from leads.rescoring import engines_in_use, lock_icp
from leads.upserting import Fates, Planner, Problem, write_leads
from tenants import audit

CHUNK: Final = 1_000  # records per transaction
MAX_ATTEMPTS: Final = 5
RAW_CELL: Final = importing.TEXT_LIMITS["bio"]  # characters kept of a refused row's cell


@dataclass(frozen=True, slots=True)
class Inspected:
    """How a file is written and what its columns are: all that is needed to read it."""

    dialect: importing.Dialect
    headers: list[str]
    mapping: dict[int, str]


def inspect(stream: BinaryIO, mapping: Mapping[int, str] | None = None) -> Inspected:
    """Look at a file before it is imported; without `mapping` its columns are guessed.

    Raises Refused, with the code of importing.BadFile, when it cannot be imported.
    """
    try:
        dialect = importing.sniff_stream(stream)
        headers = importing.read_header(stream, dialect)
        mapping = dict(importing.guess_mapping(headers) if mapping is None else mapping)
        if not {"handle", "profile_url"} & set(mapping.values()):
            raise Refused(
                _(
                    "No column holds Instagram handles or profile addresses. Name one of the "
                    "columns “handle”. The columns are: %(columns)s."
                )
                % {"columns": ", ".join(headers)[:200]},
                code="no_handle_column",
            )
        importing.rows(stream, dialect, mapping)  # checks the mapping
    except importing.BadFile as error:
        raise Refused(error.sentence, code=error.code) from error
    return Inspected(dialect, headers, mapping)


def rehearse(stream: BinaryIO, found: Inspected) -> Iterator[tuple[Fates, importing.Checkpoint]]:
    """What an import would do, chunk by chunk, without changing anything.

    Holds the leads of the file in memory, so that a row sees what the rows before it would have
    done. Raises Refused for a file that cannot be read to its end.
    """
    reader = importing.rows(stream, found.dialect, found.mapping)
    planner = Planner()
    try:
        while outcomes := list(islice(reader, CHUNK)):
            yield planner.read(outcomes), reader.checkpoint
    except importing.BadFile as error:
        raise Refused(error.sentence, code=error.code) from error


def lease(row: LeadImport, *, token: str, now: datetime) -> bool:
    """Take an import on for a while; False when another worker was first."""
    with transaction.atomic():
        taken = leasing.take(row, token=token, now=now, state=row.state)
        if taken and row.state == LeadImport.State.WAITING:
            row.move_to(LeadImport.State.RUNNING)
    return taken


def work_chunk(lead_import: LeadImport, *, token: str, now: datetime) -> bool:
    """Import the next records of a file; True when there is nothing left to do.

    Reads from the checkpoint, then writes leads, scores, tags, problems, counters and the new
    checkpoint in one transaction, with a number of statements that does not depend on the rows.
    A file that cannot be read on ends the import as failed. Raises LeaseLost.
    """
    row = LeadImport.objects.filter(pk=lead_import.pk, claim_token=token).first()
    if row is None:
        raise LeaseLost
    if row.state != LeadImport.State.RUNNING:
        return True
    outcomes: list[importing.Row | importing.Rejected] = []
    place, fault = _place(row), ""
    try:
        with row.file.open("rb") as stream:
            mapping = {int(index): target for index, target in row.mapping.items()}
            dialect = importing.Dialect(**row.dialect)
            reader = importing.rows(cast(BinaryIO, stream), dialect, mapping, place)
            try:
                outcomes.extend(islice(reader, CHUNK))
            finally:
                place = reader.checkpoint
    except importing.BadFile as error:
        fault = error.code
        with translation.override(row.tenant.language):
            row.error = error.sentence[:300]
    except FileNotFoundError:
        fault = "file_gone"
        with translation.override(row.tenant.language):
            row.error = _("The uploaded file is gone. Upload it again.")

    with transaction.atomic():
        engines = engines_in_use(lock_icp())
        planner = Planner()
        fates = planner.read(outcomes)
        write_leads(planner.to_write(), engines, source="import", now=now)
        if row.list_name:
            write_tags(row.list_name, [draft.id for draft in planner.drafts.values()])
        _write_problems(row, fates.problems)
        _advance(row, fates, place, token, now)
        if fault:
            _fail(row, fault, now)
        elif len(outcomes) < CHUNK or place.offset >= row.size:
            _finish(row, now)
    for name in (*_PROGRESS, "state", "error", "finished_at"):
        setattr(lead_import, name, getattr(row, name))
    return row.state != LeadImport.State.RUNNING


_COUNTERS: Final = ("created", "updated", "unchanged", "rejected", "warned")
_CHECKPOINT: Final = ("offset", "line", "records", "suspect_until")
_PROGRESS: Final = (*_COUNTERS, *_CHECKPOINT, "attempts", "lease_until")


def _place(row: LeadImport) -> importing.Checkpoint:
    return importing.Checkpoint(**{name: getattr(row, name) for name in _CHECKPOINT})


def _advance(
    row: LeadImport, fates: Fates, place: importing.Checkpoint, token: str, now: datetime
) -> None:
    """Move counters and checkpoint, unless another worker has done so."""
    guard = LeadImport.objects.filter(
        pk=row.pk, claim_token=token, offset=row.offset, records=row.records
    )
    for name in _COUNTERS:
        setattr(row, name, getattr(row, name) + getattr(fates, name))
    for name, value in asdict(place).items():
        setattr(row, name, value)
    row.attempts, row.lease_until = 0, now + leasing.length()
    if not guard.update(**{name: getattr(row, name) for name in _PROGRESS}):
        raise LeaseLost


def _finish(row: LeadImport, now: datetime) -> None:
    row.move_to(LeadImport.State.DONE, finished_at=now, **NO_LEASE)
    counts = {name: getattr(row, name) for name in _COUNTERS}
    audit.record(row, "import.done", by=None, records=row.records, **counts)


def _fail(row: LeadImport, code: str, now: datetime) -> None:
    row.move_to(LeadImport.State.FAILED, error=row.error, finished_at=now, **NO_LEASE)
    audit.record(row, "import.failed", by=None, code=code, records=row.records)


@transaction.atomic
def put_off(lead_import: LeadImport, *, token: str, now: datetime) -> None:
    """After an unexpected error: try again later, and give up after the fifth time in a row."""
    held = LeadImport.objects.select_for_update().filter(pk=lead_import.pk, claim_token=token)
    row = held.first()
    if row is None or row.state != LeadImport.State.RUNNING:
        return
    row.attempts += 1
    if row.attempts >= MAX_ATTEMPTS:
        with translation.override(row.tenant.language):
            row.error = _(
                "Something unexpected stopped the import after line %(line)s. The rows before it "
                "are in; tell support, or split the file there."
            ) % {"line": row.line - 1}
        _fail(row, "unexpected", now)
    else:
        leasing.give_back(row, token=token, due_at=now + timedelta(seconds=5 * 2**row.attempts))
    LeadImport.objects.filter(pk=row.pk).update(attempts=row.attempts)


def write_tags(name: str, lead_ids: Sequence[int]) -> None:
    """Put leads on a list."""
    insert_many(
        LeadTag,
        ["lead_id"],
        [(pk,) for pk in lead_ids],
        constants={"name": name},
        unique=["tenant_id", "name", "lead_id"],
    )


def _write_problems(row: LeadImport, problems: Sequence[Problem]) -> None:
    insert_many(
        ImportProblem,
        ["line", "rejected", "code", "params", "raw"],
        [
            (one.line, one.rejected, one.code, one.params, [_kept(cell) for cell in one.raw])
            for one in problems
        ],
        constants={"lead_import_id": row.pk},
        unique=["tenant_id", "lead_import_id", "line", "code"],
    )


def _kept(cell: str) -> str:
    """A refused row's cell as it can be stored: no NUL, not endless."""
    return cell[:RAW_CELL].replace("\x00", "\ufffd")
