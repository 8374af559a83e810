"""What an answer of the CRM means: for the delivery it belongs to, and for its connection.

`syncing.Slice` makes the calls. Nothing here touches the database: what is learned of connections
is kept until the slice writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

from django.conf import settings
from django.utils.translation import gettext_noop as _

from agenticos import clock as clocks
from integrations.delivery import Held, Note, Result
from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure
from integrations.ghl.client import FIELDS
from integrations.models import SyncItem
from integrations.ports import Contact, Crm, CrmContact
from integrations.steps import Outcome, Step, has_fields, not_stored

State = SyncItem.State

INDEX_LAG: Final = timedelta(seconds=60)  # how long the CRM's search may not see a new contact
NOT_STORED_ATTEMPTS: Final = 4
CREATE_UNSURE: Final = _(
    "An earlier try may have created the contact. It is searched for before it is created again."
)
# Their cause is the connection, not the item: the whole connection pauses, no attempt is burnt.
PAUSING: Final = frozenset({"connect_failed", "rate_limited"})
FIELD_TROUBLE: Final = frozenset({"field_missing", "fields_refused"})


@dataclass(slots=True)
class Desk:
    """One connection as this slice uses it."""

    connection_id: int
    tenant_id: int
    crm: Crm
    secret_set_at: datetime | None
    field_ids: dict[str, str]
    ready_at: datetime | None = None
    asking: bool = False  # a look at its fields is in flight
    refreshed: bool = False  # its fields were read anew in this slice

    def missing(self, contact: Contact) -> dict[str, str]:
        """The custom fields that have no id yet, with their data types."""
        if not has_fields(self.crm):
            return {}
        wanted = {**dict.fromkeys(contact.fields, "TEXT"), **FIELDS}
        if all(key in self.field_ids for key in wanted):
            return {}
        return wanted


@dataclass(slots=True)
class Job:
    """A delivery on its way. `then` is the step that must come next, if that is settled."""

    held: Held
    desk: Desk
    then: Step | None = None
    anew: bool = False  # its stored contact was gone once

    def step(self) -> Step:
        """What to call next."""
        if self.desk.missing(self.held.contact):
            return Step.FIELDS
        if self.then is not None:
            return self.then
        if self.held.external_id:
            return Step.WRITE
        return Step.FIND if self.held.create_begun_at else Step.CREATE


class Answers:
    """What one slice was told."""

    def __init__(self, clock: clocks.Clock) -> None:
        self.clock = clock
        self.notes: dict[int, Note] = {}  # by connection
        self.refused: list[tuple[Desk, ProviderError]] = []

    def take(self) -> tuple[dict[int, Note], list[tuple[Desk, ProviderError]]]:
        """What was learned of connections since the last time, and which refused us."""
        notes, self.notes = self.notes, {}
        refused, self.refused = self.refused, []
        return notes, refused

    def read(self, job: Job, step: Step, outcome: Outcome) -> Result | None:
        """Where the item goes, or None when another step follows."""
        held, desk = job.held, job.desk
        if not outcome.called:
            if step is Step.CREATE:
                _know(held, "", None)
            return Result(State.WAITING, self.clock.now(), held.attempts)
        if outcome.error is not None:
            return self._failed(job, step, outcome.error)
        self._note(desk).works = True
        if step is Step.FIELDS:
            desk.field_ids |= outcome.field_ids
            self._note(desk).field_ids = desk.field_ids
        elif step is Step.FIND:
            return self._looked(job, outcome.found)
        elif outcome.created is not None:
            _know(held, outcome.created.external_id, held.create_begun_at, fresh=True)
            job.then = Step.READ if outcome.created.new else Step.WRITE
        elif outcome.seen is not None:
            return self._compared(job, outcome.seen)
        return None

    def _looked(self, job: Job, found: str | None) -> Result | None:
        """After the search for a contact that may have been created."""
        held = job.held
        if found:
            _know(held, found, held.create_begun_at, fresh=True)
            job.then = Step.WRITE
            return None
        seen_by = held.create_begun_at + INDEX_LAG if held.create_begun_at else None
        if seen_by is not None and self.clock.now() < seen_by:
            return Result(
                State.WAITING, seen_by, held.attempts, "create_unsure", sentence=CREATE_UNSURE
            )
        if not (held.contact.handle or held.contact.email or held.contact.phone):
            # Nothing to find it by, and nothing that would make the CRM notice a second one.
            return Result(
                State.FAILED,
                self.clock.now(),
                held.attempts,
                "create_unsure",
                sentence=CREATE_UNSURE,
            )
        job.then = Step.CREATE
        return None

    def _compared(self, job: Job, seen: CrmContact) -> Result:
        """After reading back: done, or later because something was silently dropped."""
        lacking = not_stored(job.held.contact, seen)
        if not lacking:
            return Result(State.DONE, self.clock.now(), 0)
        if not job.desk.refreshed:
            # A field that was deleted and made again has another id: look it up once more.
            self._forget_fields(job.desk)
        error = Unsure(
            "not_stored",
            _(
                "The CRM accepted the contact and did not keep all of it. "
                "Check the location's custom fields, then retry."
            ),
            fault=Fault.PROVIDER,
            detail=", ".join(lacking),
        )
        return self._later(job, error, most=NOT_STORED_ATTEMPTS)

    def _failed(self, job: Job, step: Step, error: ProviderError) -> Result | None:
        """What an error means for the item and for its connection."""
        held, desk = job.held, job.desk
        if error.fault is Fault.PROVIDER:
            self._note(desk).trouble = error
        if step is Step.CREATE and not isinstance(error, Unsure):
            _know(held, "", None)  # surely not created
            job.then = None
        if isinstance(error, Rejected):
            on_id = step in (Step.WRITE, Step.READ)
            gone = error.code == "contact_gone" or (
                # A file told an id of somebody else's location: that is no fault of the token.
                error.code == "location_refused" and held.hearsay
            )
            if on_id and gone and not job.anew:
                job.anew, job.then = True, None
                _know(held, "", None)
                return None
            if on_id and gone:
                return self._later(job, error)
            if error.code in FIELD_TROUBLE and not desk.refreshed:
                self._forget_fields(desk)
                return None
            if error.fault is Fault.ACCOUNT:
                self.refused.append((desk, error))
                return self._back(held, error)
            if step is Step.FIELDS:
                # It says nothing about this contact. Another worker may have made the same field
                # in this very moment: look once more.
                if not desk.refreshed:
                    self._forget_fields(desk)
                    return None
                self._pause(desk, None)
                return self._back(held, error)
            return Result(
                State.FAILED,
                self.clock.now(),
                held.attempts + 1,
                error.code,
                error.detail,
                error.sentence,
            )
        if isinstance(error, TryLater) and (error.code in PAUSING or step is Step.FIELDS):
            self._pause(desk, error.after)
            return self._back(held, error)
        return self._later(job, error)

    def _later(self, job: Job, error: ProviderError, *, most: int | None = None) -> Result:
        """Another try after a growing pause, or none any more."""
        attempts, now = job.held.attempts + 1, self.clock.now()
        if attempts >= (most or settings.SYNC_MAX_ATTEMPTS):
            return Result(State.FAILED, now, attempts, error.code, error.detail, error.sentence)
        asked = error.after if isinstance(error, TryLater) else None
        pause = max(back_off(attempts, job.held.key), asked or timedelta(0))
        return Result(
            State.WAITING, now + pause, attempts, error.code, error.detail, error.sentence
        )

    def _back(self, held: Held, error: ProviderError) -> Result:
        """Not this item's fault: it waits for its connection, uncharged."""
        return Result(
            State.WAITING, self.clock.now(), held.attempts, error.code, error.detail, error.sentence
        )

    def _note(self, desk: Desk) -> Note:
        return self.notes.setdefault(desk.connection_id, Note())

    def _pause(self, desk: Desk, after: timedelta | None) -> None:
        note = self._note(desk)
        note.pauses, note.after = True, max(note.after, after or timedelta(0))

    def _forget_fields(self, desk: Desk) -> None:
        desk.refreshed = True
        desk.field_ids = {}
        self._note(desk).field_ids = {}


def back_off(attempts: int, key: str) -> timedelta:
    """The pause after so many failures: doubling from 2 s to an hour, give or take a fifth.

    >>> [round(back_off(n, "lead:1").total_seconds(), 1) for n in (1, 2, 30)]
    [1.9, 4.4, 3499.0]
    """
    luck = crc32(f"{key}:{attempts}".encode()) / 2**32
    return timedelta(seconds=min(2.0 ** min(attempts, 12) * (0.8 + 0.4 * luck), 3600))


def _know(
    held: Held, external_id: str, create_begun_at: datetime | None, *, fresh: bool = False
) -> None:
    """Note what is now known of a contact's id; the next write stores it."""
    held.external_id, held.create_begun_at = external_id, create_begun_at
    held.dirty, held.fresh = True, fresh
