"""Everything that happened to a lead, in one stream: read from where each thing is kept.

Nothing is copied into a table of events, so nothing can disagree with the rows. The stream is
paged by key: time, then the source's rank, then the row's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from agenticos import paging
from integrations.models import SyncItem
from leads.bulk import STOP_REASONS
from leads.models import BulkJob, BulkRow, IcpVersion, ImportedLead, Lead
from leads.segments import source_label
from tenants.models import AuditEntry

SIZE: Final = 30
KINDS: Final[dict[str, Promise]] = {
    "message": gettext_lazy("Messages"),
    "score": gettext_lazy("Scores"),
    "edit": gettext_lazy("Edits and tags"),
    "import": gettext_lazy("Imports"),
    "sync": gettext_lazy("CRM"),
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EDITS: Final = (
    "lead.created",
    "lead.edited",
    "lead.tagged",
    "lead.assigned",
    "lead.stopped",
    "lead.freed",
)


class Place(NamedTuple):
    """Where an event stands; newest first is the largest first."""

    at: datetime
    rank: int
    pk: int


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `row` is a message, and None for the rest; `by` is empty when nobody did it."""

    kind: str
    icon: str
    place: Place
    title: str
    detail: str = ""
    by: str = ""
    link: tuple[str, int] | None = None  # the name of an address below leads:, and the id
    row: Any = None

    @property
    def at(self) -> datetime:
        return self.place.at

    @property
    def key(self) -> str:
        """A name for the event that stays."""
        return f"e{self.place.rank}-{self.place.pk}"


@dataclass(frozen=True, slots=True)
class Stream:
    """A page of events, and the cursor of the older ones ('' when there are none)."""

    events: list[Event]
    next: str

    @property
    def days(self) -> list[tuple[datetime, list[Event]]]:
        """The events by day in the reader's zone; each day is named by its newest event's time."""
        days = groupby(self.events, key=lambda event: timezone.localdate(event.at))
        return [(events[0].at, events) for events in (list(group) for _day, group in days)]


class _Source(NamedTuple):
    kind: str
    rows: Any  # annotated with `at`
    make: Callable[[Any, Place], Event]


def read(lead: Lead, *, kind: str = "", after: str = "", exports: bool, texts: bool) -> Stream:
    """The events of a lead from `after` on, newest first; the statements do not grow with them.

    `exports` and `texts` say whether the reader may see exports and message texts.
    """
    last = _place(after)
    found: list[Event] = []
    for rank, source in enumerate(_sources(lead, exports=exports, texts=texts), start=1):
        if kind not in ("", source.kind):
            continue
        rows = source.rows.filter(_before(last, rank)) if last else source.rows
        for row in rows.order_by("-at", "-pk")[: SIZE + 1]:
            found.append(source.make(row, Place(row.at, rank, row.pk)))
    single = (event for event in _single(lead) if kind in ("", event.kind))
    found += [event for event in single if last is None or event.place < last]
    found.sort(key=lambda event: event.place, reverse=True)
    page = found[:SIZE]
    more = len(found) > SIZE
    return Stream(page, _cursor(page[-1].place) if more else "")


def _cursor(place: Place) -> str:
    return paging.encode([(place.at - _EPOCH) // timedelta(microseconds=1), place.rank, place.pk])


def _place(cursor: str) -> Place | None:
    values = paging.decode(cursor, 3)
    if values is None:
        return None
    try:
        return Place(_EPOCH + timedelta(microseconds=values[0]), values[1], values[2])
    except OverflowError:
        return None


def _before(last: Place, rank: int) -> Q:
    """Rows of one source that come after `last` in the stream."""
    if rank < last.rank:
        return Q(at__lte=last.at)
    older = Q(at__lt=last.at)
    return older | Q(at=last.at, pk__lt=last.pk) if rank == last.rank else older


def _sources(lead: Lead, *, exports: bool, texts: bool) -> Iterator[_Source]:
    """The tables that hold events. The order is the rank: never change it, cursors name it."""
    messages: Any = lead.messages
    sent = messages.select_related("campaign", "account")
    at = Coalesce("sent_at", "updated_at")
    yield _Source("message", (sent if texts else sent.defer("text")).annotate(at=at), _message)
    scores = lead.scores.exclude(version__state=IcpVersion.State.SCORING)
    published = Coalesce("version__published_at", "version__created_at")
    since = Greatest(published, Value(lead.created_at))
    yield _Source("score", scores.select_related("version").annotate(at=since), _score)
    edits = AuditEntry.objects.filter(
        object_type=Lead._meta.label_lower, object_id=lead.pk, action__in=_EDITS
    )
    # `at` is a column of its own here.
    yield _Source("edit", edits.select_related("user"), _edit)
    done = lead.bulk_rows.filter(outcome=BulkRow.Outcome.DONE)
    hidden = [] if exports else [BulkJob.Kind.EXPORT]
    done = done.exclude(job__kind__in=[BulkJob.Kind.RESCORE, *hidden])
    worked = Coalesce("job__finished_at", "job__created_at")
    yield _Source("edit", done.select_related("job__started_by").annotate(at=worked), _bulk)
    imported = lead.imported.filter(lead_import__committed_at__isnull=False)
    imported = imported.exclude(fate=ImportedLead.Fate.SAME)
    yield _Source("import", imported.select_related("lead_import__started_by"), _import)
    synced = SyncItem.objects.filter(key=f"lead:{lead.pk}", done_at__isnull=False)
    yield _Source("sync", synced.select_related("connection").annotate(at=F("done_at")), _sync)


def _single(lead: Lead) -> Iterator[Event]:
    """How the lead came in, unless an import or a person's entry says it already."""
    created = AuditEntry.objects.filter(
        object_type=Lead._meta.label_lower, object_id=lead.pk, action="lead.created"
    )
    if lead.imported.filter(fate=ImportedLead.Fate.CREATED).exists() or created.exists():
        return
    source = source_label(lead.source)
    title = _("Came in: %(source)s") % {"source": source} if source else _("Came in")
    kind = "import" if lead.source == "import" else "edit"
    yield Event(kind, "plus", Place(lead.created_at, 0, lead.pk), title)


def _message(row: Any, place: Place) -> Event:
    return Event("message", "message", place, "", row=row)


def _score(row: Any, place: Place) -> Event:
    title = _("Score %(total)s, %(band)s") % {"total": row.total, "band": row.get_band_display()}
    detail = _("Under ICP version %(version)s") % {"version": row.version.number}
    return Event("score", "target", place, title, detail)


def _edit(row: Any, place: Place) -> Event:
    data, detail = row.data, ""
    if row.action == "lead.edited":
        names = [_field(name) for name in data.get("fields", ())]
        detail = ", ".join(names)
    elif row.action == "lead.stopped":
        detail = str(STOP_REASONS.get(data.get("reason", ""), data.get("reason", "")))
    elif row.action == "lead.tagged":
        words = []
        if added := data.get("added", 0):
            words.append(ngettext("%(n)s added", "%(n)s added", added) % {"n": added})
        if removed := data.get("removed", 0):
            words.append(ngettext("%(n)s removed", "%(n)s removed", removed) % {"n": removed})
        detail = ", ".join(words)
    title, icon = _TITLES[row.action]
    return Event("edit", icon, place, str(title), detail, str(row.user or row.actor))


_TITLES: Final[dict[str, tuple[Promise, str]]] = {
    "lead.created": (gettext_lazy("Added"), "plus"),
    "lead.edited": (gettext_lazy("Edited"), "pencil"),
    "lead.tagged": (gettext_lazy("Tags changed"), "tag"),
    "lead.assigned": (gettext_lazy("Owner changed"), "user"),
    "lead.stopped": (gettext_lazy("Not to be contacted any more"), "ban"),
    "lead.freed": (gettext_lazy("May be contacted again"), "lock-open"),
}


def _field(name: str) -> str:
    """A field's name for people; one that there is no more keeps its own."""
    try:
        return str(Lead._meta.get_field(name).verbose_name)  # type: ignore[union-attr]  # a field, no relation
    except FieldDoesNotExist:
        return name


def _bulk(row: Any, place: Place) -> Event:
    job = row.job
    tag = {"tag": job.params.get("tag", "")}
    title, icon = {
        BulkJob.Kind.TAG: (_("Tag “%(tag)s” added") % tag, "tag"),
        BulkJob.Kind.UNTAG: (_("Tag “%(tag)s” removed") % tag, "tag"),
        BulkJob.Kind.SUPPRESS: (_("Not to be contacted any more"), "ban"),
        BulkJob.Kind.EXPORT: (_("Exported"), "file-text"),
    }[BulkJob.Kind(job.kind)]
    reason = str(STOP_REASONS.get(job.params.get("reason", ""), ""))
    return Event("edit", icon, place, title, reason, str(job.started_by or ""), ("job", job.pk))


def _import(row: Any, place: Place) -> Event:
    begun = row.lead_import
    new = row.fate == ImportedLead.Fate.CREATED
    text = _("Came in with %(file)s") if new else _("Changed by %(file)s")
    fields = "" if new else ", ".join(_field(name) for name in row.after)
    by = str(begun.started_by or "")
    title = text % {"file": begun.file_name}
    return Event("import", "file-import", place, title, fields, by, ("import", begun.pk))


def _sync(row: Any, place: Place) -> Event:
    title = _("Written to the CRM")
    return Event("sync", "cloud-check", place, title, str(row.connection.name))
