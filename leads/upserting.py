"""From rows to leads: what each row does to what is stored, and writing what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from agenticos import scope
from agenticos.sql import insert_many, moment, new_ids, one_trip
from leads import importing
from leads.drafts import COLUMNS, UNKNOWN, Draft, stored
from leads.models import Lead, LeadImport
from leads.rescoring import Engine, write_scores
from leads.suppression import find_suppressed
from tenants import limits


class Problem(NamedTuple):
    """A row that was refused, or taken with something left out."""

    line: int
    rejected: bool
    code: str
    params: dict[str, Any]
    raw: list[str]


@dataclass(slots=True)
class Fates:
    """What became of rows; every row is in one of the first four. `warned` counts rows, too."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    warned: int = 0
    problems: list[Problem] = field(default_factory=list)
    # What became of each row, in their order: the name of one of the first four.
    rows: list[str] = field(default_factory=list)
    # The values of changed leads before these rows, by handle; new leads are not among them.
    befores: dict[str, dict[str, Any]] = field(default_factory=dict)


PLAN_FULL: Final = "plan_limit_leads"


@dataclass(slots=True)
class Room:
    """How many new leads the plan still allows; `limit` None: any number."""

    limit: int | None = None
    left: int = 0

    def take(self) -> bool:
        """Take one place; False when there is none."""
        if self.limit is None:
            return True
        self.left -= 1
        return self.left >= 0


def lead_room(staged: int = 0) -> Room:
    """The room of the tenant in scope; exact under `rescoring.lock_icp`, which all who add hold.

    `staged` are new leads that a rehearsal has seen and not written.
    """
    limit = limits.limit_of(scope.tenant_id(), "max_leads")
    if limit is None:
        return Room()
    return Room(limit, limit - Lead.objects.count() - staged)


class Planner:
    """Works out what rows do to leads: each row in turn, on top of what is stored.

    A row changes only what it has a value for; of two rows of one lead the later one wins. With
    `policy` a known lead keeps what it has (`fill`), or is left as it is (`keep`); `policies` says
    so of single fields.
    """

    def __init__(
        self,
        policy: str = LeadImport.Policy.OVERWRITE,
        policies: Mapping[str, str] | None = None,
        *,
        room: Room | None = None,
    ) -> None:
        self.drafts: dict[str, Draft] = {}
        self._policy = policy
        self._policies = policies or {}
        self._room = room or lead_room()
        self._owners: dict[str, str] = {}  # GHL id -> handle

    def read(self, outcomes: Sequence[importing.Row | importing.Rejected]) -> Fates:
        """Apply the rows to the drafts; return their fates."""
        fates = Fates()
        self._changed: list[Draft] = []
        # New with these rows: for the next ones they are stored, as they are for a next planner.
        self._created: set[str] = set()
        self._load([one.values for one in outcomes if isinstance(one, importing.Row)])
        for one in outcomes:
            if isinstance(one, importing.Rejected):
                fates.rejected += 1
                fates.rows.append("rejected")
                fates.problems.append(Problem(one.line, True, one.code, one.params, one.raw))
            else:
                self._apply(one, fates)
        undone: set[str] = set()
        for draft in self._changed:
            if draft.values == draft.before:
                # Two rows that undid each other: nothing stored differs, also the second time.
                fates.updated -= draft.updates
                fates.unchanged += draft.updates
                draft.changed = False
                undone.add(draft.handle)
            elif draft.before is not None:
                fates.befores[draft.handle] = draft.before
            draft.before, draft.updates = None, 0
        for place, one in enumerate(outcomes if undone else ()):
            if isinstance(one, importing.Row) and one.values["handle"] in undone:
                fates.rows[place] = "unchanged"
        return fates

    def to_write(self) -> list[Draft]:
        """The leads that are new or differ from what is stored."""
        return [draft for draft in self.drafts.values() if draft.changed]

    def _load(self, values: Iterable[dict[str, importing.Value]]) -> None:
        handles = {str(one["handle"]) for one in values} - self.drafts.keys()
        for draft in self._known(handles):
            self.drafts[draft.handle] = draft
            if draft.ghl_id:
                self._owners.setdefault(draft.ghl_id, draft.handle)
        ghl_ids = {str(one["ghl_id"]) for one in values if "ghl_id" in one} - self._owners.keys()
        if ghl_ids:
            self._owners.update(
                (ghl_id, handle)
                for ghl_id, handle in self._owned(ghl_ids)
                if handle not in self.drafts
            )

    def _known(self, handles: Set[str]) -> list[Draft]:
        """The leads of these handles, as rows find them."""
        return stored(Lead.objects.filter(handle__any_of=handles))

    def _owned(self, ghl_ids: Set[str]) -> Iterable[tuple[str, str]]:
        """Which handles have these GHL ids."""
        return Lead.objects.filter(ghl_id__in=ghl_ids).values_list("ghl_id", "handle")

    def _apply(self, row: importing.Row, fates: Fates) -> None:
        values: dict[str, Any] = row.values
        handle = values["handle"]
        warnings = row.warnings
        if handle not in self.drafts and not self._room.take():
            fates.rejected += 1
            fates.rows.append("rejected")
            params = {"limit": self._room.limit}
            fates.problems.append(Problem(row.line, True, PLAN_FULL, params, row.raw))
            return
        ghl_id = values.get("ghl_id")
        if ghl_id and self._owners.get(ghl_id, handle) != handle:
            # Two people in our list cannot be one contact of the CRM.
            values = {name: value for name, value in values.items() if name != "ghl_id"}
            warnings = (*warnings, "ghl_id_taken")
            ghl_id = None
        if warnings:
            fates.warned += 1
            fates.problems.extend(
                Problem(row.line, False, code, {"handle": handle}, row.raw)
                for code in dict.fromkeys(warnings)
            )
        draft = self.drafts.get(handle)
        if draft is None:
            draft = self.drafts[handle] = Draft(0, handle, {**UNKNOWN, **values}, changed=True)
            del draft.values["handle"]
            self._created.add(handle)
            fates.created += 1
            fates.rows.append("created")
            if ghl_id:
                self._owners[ghl_id] = handle
            return
        known = draft.values
        news = {
            name: value
            for name, value in values.items()
            if name != "handle" and known[name] != value and self._may_change(name, known[name])
        }
        if not news:
            fates.unchanged += 1
            fates.rows.append("unchanged")
            return
        if "ghl_id" in news:
            self._owners.pop(known["ghl_id"], None)
            self._owners[news["ghl_id"]] = handle
        if draft.before is None and handle not in self._created:
            draft.before = dict(known)
            self._changed.append(draft)
        known.update(news)
        draft.changed = True
        draft.updates += 1
        fates.updated += 1
        fates.rows.append("updated")

    def _may_change(self, name: str, known: Any) -> bool:
        policy = self._policies.get(name, self._policy)
        if policy == LeadImport.Policy.FILL:
            return known is None or known == ""
        return policy != LeadImport.Policy.KEEP


def demand(fates: Fates) -> None:
    """Raise Refused if the plan had no room for one of the rows."""
    for problem in fates.problems:
        if problem.code == PLAN_FULL:
            raise limits.refusal("max_leads", problem.params["limit"])


def write_leads(
    drafts: Sequence[Draft], engines: Sequence[Engine], *, source: str, now: datetime
) -> None:
    """Insert new leads, update known ones, score and check them; fills in the ids."""
    prepare_leads(drafts)
    with one_trip():
        store_leads(drafts, source=source, now=now)
        write_scores(drafts, engines)


def prepare_leads(drafts: Sequence[Draft]) -> None:
    """Look up what it takes to store leads: ids for new ones, and who must not be written to.

    Have the tenant's turn (`rescoring.lock_icp`): nobody else adds one of them meanwhile.
    """
    # Let go of ids first: within one statement the row that takes one may come earlier.
    moved = [one.id for one in drafts if one.ghl_id and one.values["ghl_id"] != one.ghl_id]
    if moved:
        Lead.objects.filter(pk__in=moved).update(ghl_id="")
    new = [one for one in drafts if not one.id]
    for draft, pk in zip(new, new_ids(Lead, len(new)) if new else [], strict=True):
        draft.id, draft.new = pk, True
    find_suppressed(drafts)


def store_leads(drafts: Sequence[Draft], *, source: str, now: datetime) -> None:
    """Insert prepared leads that are new, and update the others. Scores are `write_scores`'."""
    at = moment(now)
    known: dict[str, Any] = {
        "unique": ["tenant_id", "handle"],
        "update": [*COLUMNS, "updated_at"],
        "keep": ["suppressed_at"],
    }
    for new in (True, False):
        insert_many(
            Lead,
            ["id", "handle", *COLUMNS, "suppressed_at"],
            # The values of a draft stand in the order of COLUMNS, however it was made.
            [
                (draft.id, draft.handle, *draft.values.values(), at if draft.suppressed else None)
                for draft in drafts
                if draft.new is new
            ],
            constants={
                "source": source,
                "instagram_scoped_id": "",
                "created_at": now,
                "updated_at": now,
            },
            **({} if new else known),
        )
