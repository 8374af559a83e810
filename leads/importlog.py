"""What an import does to each lead, row by row of `ImportedLead`: rehearsed first, then done.

The same rows stage a rehearsal (later chunks see what earlier ones would have done) and, once the
import is committed, say what an undo puts back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Exists, OuterRef

from agenticos.sql import insert_many, moment
from leads import importing
from leads.drafts import Draft
from leads.models import ImportedLead, ImportProblem, Lead, LeadImport
from leads.upserting import Fates, Planner, lead_room

Fate = ImportedLead.Fate


@dataclass(slots=True)
class Entry:
    """One lead of an import, as far as the import has come."""

    handle: str
    at: datetime
    lead_id: int | None = None
    ghl_id: str = ""
    fate: str = Fate.SAME
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    suppressed: bool = False
    repeated: bool = False
    tagged: bool = False
    noted: bool = False  # is in the table


_COLUMNS = (
    "handle", "lead_id", "ghl_id", "fate", "before", "after", "suppressed", "repeated", "tagged",
    "at",
)  # fmt: skip


def recall(row: LeadImport, handles: Set[str]) -> dict[str, Entry]:
    """What the import has noted about these handles."""
    noted = ImportedLead.objects.filter(lead_import=row, handle__any_of=handles)
    return {
        values[0]: Entry(**dict(zip(_COLUMNS, values, strict=True)), noted=True)
        for values in noted.values_list(*_COLUMNS)
    }


def forget(row: LeadImport) -> None:
    """Remove what a rehearsal has noted, before the file is read from its beginning."""
    ImportedLead.objects.filter(lead_import=row).delete()
    ImportProblem.objects.filter(lead_import=row).delete()


def decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they come back from JSON, in the types of a lead's columns."""
    rate = values.get("engagement")
    return {**values, "engagement": Decimal(rate)} if rate is not None else dict(values)


class StagedPlanner(Planner):
    """Works out what rows would do: on top of what is stored and of what was rehearsed before."""

    def __init__(self, row: LeadImport, entries: Mapping[str, Entry]) -> None:
        new = ImportedLead.objects.filter(lead_import=row, fate=Fate.CREATED, lead=None).count()
        super().__init__(row.policy, row.policies, room=lead_room(new))
        self._row = row
        self._entries = entries

    def _known(self, handles: Set[str]) -> list[Draft]:
        found = {draft.handle: draft for draft in super()._known(handles)}
        for handle, entry in self._entries.items():
            if entry.fate == Fate.SAME:
                continue
            values, lead_id = decoded(entry.after), entry.lead_id or 0
            found[handle] = Draft(
                lead_id, handle, values, entry.ghl_id, suppressed=entry.suppressed
            )
        return list(found.values())

    def _owned(self, ghl_ids: Set[str]) -> Iterable[tuple[str, str]]:
        staged = ImportedLead.objects.filter(lead_import=self._row).exclude(fate=Fate.SAME)
        yield from staged.filter(ghl_id__in=ghl_ids).values_list("ghl_id", "handle")
        # What a lead has stored no longer counts once the rehearsal has changed it.
        unstaged = ~Exists(staged.filter(handle=OuterRef("handle")))
        leads = Lead.objects.filter(unstaged, ghl_id__in=ghl_ids)
        yield from leads.values_list("ghl_id", "handle")


def note(
    row: LeadImport,
    outcomes: Sequence[importing.Row | importing.Rejected],
    drafts: Mapping[str, Draft],
    fates: Fates,
    entries: dict[str, Entry],
    *,
    tagged: Set[int] = frozenset(),
    dry: bool,
    now: datetime,
) -> tuple[int, int]:
    """Note a chunk; return how many rows came again, and how many leads are newly suppressed.

    `drafts` are the chunk's leads by handle, `entries` what was noted about them before.
    """
    duplicates = _repeats(outcomes, entries, now)
    stopped = 0
    for handle, draft in drafts.items():
        entry = entries[handle]
        entry.lead_id = draft.id or None
        entry.tagged = entry.tagged or draft.id in tagged
        stopped += draft.suppressed and not entry.suppressed
        entry.suppressed = draft.suppressed
        if draft.changed:
            entry.at = now
            _change(entry, draft, fates.befores.get(handle), dry=dry)
    for noted in (True, False):
        insert_many(
            ImportedLead,
            _COLUMNS,
            [
                (*(getattr(one, name) for name in _COLUMNS[:-1]), moment(one.at))
                for one in map(entries.__getitem__, drafts)
                if one.noted is noted
            ],
            constants={"lead_import_id": row.pk, "kept": ""},
            # A rehearsal holds no lock: a worker that comes too late meets the rows of another.
            unique=["tenant_id", "lead_import_id", "handle"] if noted or dry else [],
            update=_COLUMNS[1:],
        )
    return duplicates, stopped


def _repeats(
    outcomes: Sequence[importing.Row | importing.Rejected],
    entries: dict[str, Entry],
    now: datetime,
) -> int:
    """Count the rows whose lead had one before; who had none gets an entry."""
    repeats = 0
    for one in outcomes:
        if not isinstance(one, importing.Row):
            continue
        handle = str(one.values["handle"])
        if handle in entries:
            repeats += 1
            entries[handle].repeated = True
        else:
            entries[handle] = Entry(handle, now)
    return repeats


def _change(entry: Entry, draft: Draft, before: Mapping[str, Any] | None, *, dry: bool) -> None:
    """Add what a chunk does to a lead; `before` is None when the chunk made it."""
    if before is None:
        entry.fate = Fate.CREATED
    elif entry.fate != Fate.CREATED:
        entry.fate = Fate.UPDATED
        news = {name: value for name, value in draft.values.items() if before[name] != value}
        entry.before = {**{name: before[name] for name in news}, **entry.before}
        if not dry:
            entry.after = {**entry.after, **news}
    if dry:
        # Later chunks go on from here.
        entry.after, entry.ghl_id = dict(draft.values), draft.values["ghl_id"]
