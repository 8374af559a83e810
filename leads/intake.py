"""The work of an import, chunk by chunk: read on in the file, write, move the checkpoint."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import BinaryIO, Final, cast

from django.core.files import File
from django.db import transaction
from django.utils.translation import gettext as _

from agenticos import leasing
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE, LeaseLost
from agenticos.sql import check_references_now, grown, insert_many, one_trip
from leads import importing, importlog
from leads.models import (
    ImportedLead,
    ImportProblem,
    Lead,
    LeadFacts,
    LeadImport,
    LeadScore,
    LeadTag,
)
from leads.rescoring import engines_in_use, lock_icp, write_scores
from leads.suppression import find_suppressed
from leads.upserting import Fates, Planner, Problem, prepare_leads, store_leads
from tenants import audit

CHUNK: Final = 2_000  # records per transaction
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
    except importing.BadFile as error:
        raise Refused(error.sentence, code=error.code) from error
    return check(stream, dialect, importing.guess_mapping(headers) if mapping is None else mapping)


def check(stream: BinaryIO, dialect: importing.Dialect, mapping: Mapping[int, str]) -> Inspected:
    """Check that a file can be imported with this dialect and mapping. Raises Refused if not."""
    try:
        headers = importing.read_header(stream, dialect)
        mapping = dict(mapping)
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


def clean_list_name(name: str) -> str:
    """The name of a list without stray spaces. Raises Refused when it is too long."""
    name = " ".join(name.split())
    if len(name) > 80:
        raise Refused(_("The list's name is longer than 80 characters."), code="list_name_too_long")
    return name


@contextmanager
def storing(row: LeadImport, file: File[bytes] | BinaryIO) -> Iterator[None]:
    """Keep the file of a new import while its row is saved, in one transaction; or keep neither."""
    stored = file if isinstance(file, File) else File(file)
    row.file.save(f"{uuid.uuid4().hex}.csv", stored, save=False)
    try:
        with transaction.atomic():
            yield
    except BaseException:
        row.file.delete(save=False)
        raise


def clean_policies(policies: Mapping[str, object], policy: str) -> dict[str, str]:
    """Field → policy where it differs from the import's. Raises Refused for what is neither."""
    for name, value in policies.items():
        if (
            name not in importing.FIELDS
            or name == "handle"
            or value not in LeadImport.Policy.values
        ):
            raise Refused(
                _("“%(field)s” cannot be treated as “%(policy)s”. Policies are: %(all)s.")
                % {
                    "field": str(name)[:60],
                    "policy": str(value)[:60],
                    "all": ", ".join(LeadImport.Policy.values),
                },
                code="bad_policy",
            )
    return {name: str(value) for name, value in sorted(policies.items()) if value != policy}


def rehearse(
    stream: BinaryIO,
    found: Inspected,
    *,
    policy: str = LeadImport.Policy.OVERWRITE,
    policies: Mapping[str, str] | None = None,
) -> Iterator[tuple[Fates, importing.Checkpoint]]:
    """What an import would do, chunk by chunk, without changing anything.

    Holds the leads of the file in memory, so that a row sees what the rows before it would have
    done. Raises Refused for a file that cannot be read to its end.
    """
    reader = importing.rows(stream, found.dialect, found.mapping)
    planner = Planner(policy, policies)
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


def work_chunk(
    lead_import: LeadImport, *, token: str, now: datetime, ahead: Ahead | None = None
) -> bool:
    """Import or rehearse the next records of a file; True when there is nothing left to do.

    Reads from the checkpoint, then writes leads, scores, tags, the log, problems, counters and the
    new checkpoint in one transaction. The number of its statements does not depend on the rows,
    but for two for every `rescoring.PART` of scores. A rehearsal counts the same and leaves out
    leads, scores and tags. A file that cannot be read on ends it as failed. Whoever works chunk
    after chunk keeps `ahead` for the next. Raises LeaseLost.
    """
    row = LeadImport.objects.filter(pk=lead_import.pk, claim_token=token).first()
    if row is None:
        raise LeaseLost
    dry = row.state == LeadImport.State.REHEARSING
    if not dry and row.state != LeadImport.State.RUNNING:
        return True
    chunk = (ahead or Ahead()).take(row)
    with transaction.atomic():
        if not row.offset and (dry or row.rehearsal):
            # In here: a worker that comes too late takes nothing away from its successor.
            importlog.forget(row)
        engines = [] if dry else engines_in_use(lock_icp())
        entries = importlog.recall(row, chunk.handles)
        check_references_now()
        planner = (
            importlog.StagedPlanner(row, entries) if dry else Planner(row.policy, row.policies)
        )
        fates = planner.read(chunk.outcomes)
        drafts, tagged = planner.to_write(), set[int]()
        if dry:
            find_suppressed(drafts)
        else:
            prepare_leads(drafts)
        with one_trip():  # the database writes while leads are scored and the file is read on
            if not dry:
                store_leads(drafts, source="import", now=now)
                if row.list_name:
                    tagged = write_tags(row.list_name, [one.id for one in planner.drafts.values()])
            again, stopped = importlog.note(
                row, chunk.outcomes, planner.drafts, fates, entries, tagged=tagged, dry=dry, now=now
            )
            _write_problems(row, fates.problems)
            write_scores([] if dry else drafts, engines)
            if ahead is not None:
                ahead.look(row, chunk.place)
        _advance(row, fates, again, stopped, chunk.place, token, now)
        if chunk.fault:
            _fail(row, chunk.fault, now)
        elif len(chunk.outcomes) < CHUNK or chunk.place.offset >= row.size:
            _finish(row, now)
    if not dry:
        grown(lead_import.created, row.created, Lead, LeadScore, LeadFacts, ImportedLead)
    for name in (*_PROGRESS, "state", "error_code", "error_params", "finished_at"):
        setattr(lead_import, name, getattr(row, name))
    return row.state not in (LeadImport.State.RUNNING, LeadImport.State.REHEARSING)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some records of a file, the places before and after, and what kept it from being read on."""

    start: importing.Checkpoint
    outcomes: list[importing.Row | importing.Rejected]
    place: importing.Checkpoint
    fault: importing.BadFile | None = None

    @property
    def handles(self) -> set[str]:
        rows = (one for one in self.outcomes if isinstance(one, importing.Row))
        return {str(one.values["handle"]) for one in rows}


class Ahead:
    """A chunk of an import read before its turn, while the database writes the one before it."""

    def __init__(self) -> None:
        self._chunk: _Chunk | None = None

    def look(self, row: LeadImport, place: importing.Checkpoint) -> None:
        """Read what follows `place`, unless the file ends there."""
        try:
            self._chunk = _read_on(row, place) if place.offset < row.size else None
        except Exception:  # whatever it is comes again at its own turn, and undoes no rows before
            self._chunk = None

    def take(self, row: LeadImport) -> _Chunk:
        """The records after the checkpoint; read now if others, or none, were read before."""
        start = importing.Checkpoint(**{name: getattr(row, name) for name in _CHECKPOINT})
        chunk, self._chunk = self._chunk, None
        return chunk if chunk and chunk.start == start else _read_on(row, start)


def _read_on(row: LeadImport, start: importing.Checkpoint) -> _Chunk:
    outcomes: list[importing.Row | importing.Rejected] = []
    place, fault = start, None
    try:
        with row.file.open("rb") as stream:
            mapping = {int(index): target for index, target in row.mapping.items()}
            dialect = importing.Dialect(**row.dialect)
            reader = importing.rows(cast(BinaryIO, stream), dialect, mapping, start)
            try:
                outcomes.extend(islice(reader, CHUNK))
            finally:
                place = reader.checkpoint
    except importing.BadFile as error:
        fault = error
    except FileNotFoundError:
        fault = importing.BadFile("file_gone")
    return _Chunk(start, outcomes, place, fault)


_FATES: Final = ("created", "updated", "unchanged", "rejected", "warned")
COUNTERS: Final = (*_FATES, "duplicates", "suppressed")
_CHECKPOINT: Final = ("offset", "line", "records", "suspect_until")
_PROGRESS: Final = (*COUNTERS, *_CHECKPOINT, "attempts", "lease_until")
# Before anything of a file was read.
AT_THE_BEGINNING: Final = {
    **dict.fromkeys((*COUNTERS, *_CHECKPOINT), 0), "line": 1, "attempts": 0,
}  # fmt: skip


def counts_of(row: LeadImport) -> dict[str, int]:
    """The counters of an import, and the records read."""
    return {name: getattr(row, name) for name in (*COUNTERS, "records")}


def _advance(
    row: LeadImport,
    fates: Fates,
    again: int,
    stopped: int,
    place: importing.Checkpoint,
    token: str,
    now: datetime,
) -> None:
    """Move counters and checkpoint, unless another worker has done so."""
    guard = LeadImport.objects.filter(
        pk=row.pk, claim_token=token, state=row.state, offset=row.offset, records=row.records
    )
    for name in _FATES:
        setattr(row, name, getattr(row, name) + getattr(fates, name))
    row.duplicates += again
    row.suppressed += stopped
    for name, value in asdict(place).items():
        setattr(row, name, value)
    row.attempts, row.lease_until = 0, now + leasing.length()
    if not guard.update(**{name: getattr(row, name) for name in _PROGRESS}):
        raise LeaseLost


def _finish(row: LeadImport, now: datetime) -> None:
    if row.state == LeadImport.State.REHEARSING:
        row.move_to(LeadImport.State.READY, **NO_LEASE)
        audit.record(row, "import.rehearsed", by=None, **counts_of(row))
        return
    row.move_to(LeadImport.State.DONE, finished_at=now, **NO_LEASE)
    audit.record(row, "import.done", by=None, **counts_of(row))


def _fail(row: LeadImport, error: importing.BadFile, now: datetime) -> None:
    if row.state == LeadImport.State.REHEARSING:
        importlog.forget(row)
    row.move_to(
        LeadImport.State.FAILED,
        error_code=error.code,
        error_params=error.params,
        finished_at=row.finished_at or now,
        **NO_LEASE,
    )
    audit.record(row, "import.failed", by=None, code=error.code, records=row.records)


_BROKEN: Final[dict[str, str]] = {
    LeadImport.State.RUNNING: "unexpected",
    LeadImport.State.REHEARSING: "unexpected_check",
    LeadImport.State.UNDOING: "unexpected_undo",
}


@transaction.atomic
def put_off(lead_import: LeadImport, *, token: str, now: datetime) -> None:
    """After an unexpected error: try again later, and give up after the fifth time in a row."""
    held = LeadImport.objects.select_for_update().filter(pk=lead_import.pk, claim_token=token)
    row = held.first()
    if row is None or row.state not in _BROKEN:
        return
    row.attempts += 1
    if row.attempts >= MAX_ATTEMPTS:
        _fail(row, importing.BadFile(_BROKEN[row.state], line=row.line - 1), now)
    else:
        leasing.give_back(row, token=token, due_at=now + timedelta(seconds=5 * 2**row.attempts))
    LeadImport.objects.filter(pk=row.pk).update(attempts=row.attempts)


def write_tags(name: str, lead_ids: Sequence[int]) -> set[int]:
    """Put leads on a list; return those that were not on it."""
    written = insert_many(
        LeadTag,
        ["lead_id"],
        [(pk,) for pk in lead_ids],
        constants={"name": name},
        unique=["tenant_id", "name", "lead_id"],
        returning=["lead_id"],
    )
    return {pk for (pk,) in written}


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
