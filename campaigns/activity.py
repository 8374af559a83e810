"""What happened in a campaign: people's acts out of the audit trail, and messages as they stand.

A message's row is its own event: it says what became of it, and when. So nothing is copied, and
the two sources are merged by time, newest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from agenticos import paging
from campaigns import codes
from campaigns.models import Campaign, Message
from tenants.models import AuditEntry

SIZE: Final = 50
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Of two events at one instant the act comes after the message.
ACT, MESSAGE = 1, 0
# As the index `message_settled` has them: cancelled rows are no news, queued ones none yet.
SETTLED: Final = (
    Message.State.SENT,
    Message.State.FAILED,
    Message.State.UNKNOWN,
    Message.State.SKIPPED,
)
KINDS: Final = ("people", "system", "messages")

WORDS: Final[dict[str, Promise]] = {
    "campaign.created": _("Draft created"),
    "campaign.edited": _("Draft changed"),
    "campaign.cloned": _("Copied into a new draft"),
    "campaign.renamed": _("Name or tags changed"),
    "campaign.pace_changed": _("Pace changed"),
    "campaign.scheduled": _("Start scheduled"),
    "campaign.unscheduled": _("Scheduled start taken back"),
    "campaign.start_missed": _("Not started at its time"),
    "campaign.text_changed": _("New version of the text"),
    "campaign.people_moved": _("People moved to the new text"),
    "campaign.started": _("Started"),
    "campaign.running": _("Audience frozen; sending began"),
    "campaign.paused": _("Paused"),
    "campaign.resumed": _("Resumed"),
    "campaign.stopped": _("Stopped for good"),
    "campaign.blocked": _("Blocked"),
    "campaign.failed": _("Failed"),
    "campaign.finished": _("Finished"),
    "campaign.failed_retried": _("Failed messages queued again"),
    "campaign.messages_skipped": _("People left out by hand"),
    "campaign.reopened": _("Running again for retried messages"),
    "campaign.exported": _("Proof exported"),
    "message.retried": _("One failed message queued again"),
    "message.resolved": _("The outcome of one message decided"),
}
# What the data of an entry says: harmless facts, see tenants.audit.
FACTS: Final[dict[str, Promise]] = {
    "messages": _("messages"),
    "in_flight": _("in flight"),
    "dropped": _("dropped"),
    "audience": _("audience"),
    "rows": _("rows"),
    "version": _("is the version"),
    "moved": _("people moved"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the stream; either `entry` or `message` is set."""

    at: datetime
    rank: int
    pk: int
    entry: AuditEntry | None = None
    message: Message | None = None

    @property
    def name(self) -> str:
        """Its id on the page, and in its permanent link."""
        return f"{'act' if self.rank == ACT else 'message'}-{self.pk}"

    @property
    def cursor(self) -> str:
        return paging.encode((_micros(self.at), self.rank, self.pk))

    @property
    def words(self) -> str:
        if self.message:
            return self.message.get_state_display()
        assert self.entry is not None  # noqa: S101 - one of the two is set
        return str(WORDS.get(self.entry.action, self.entry.action))

    @property
    def why(self) -> str:
        """The sentence of its code, if it has one."""
        if self.message:
            return self.message.why
        code = str(self.entry.data.get("code", "")) if self.entry else ""
        return codes.sentence(code) if code else ""

    @property
    def facts(self) -> list[tuple[str, int]]:
        """The numbers of an act, with what they count."""
        data = self.entry.data if self.entry else {}
        return [(str(label), data[key]) for key, label in FACTS.items() if data.get(key)]


@dataclass(frozen=True, slots=True)
class Stream:
    """Events, newest first, and the cursor of the older ones ("" when there are none)."""

    events: list[Event]
    older: str = ""


def stream(campaign: Campaign, *, kind: str = "", after: str = "", since: str = "") -> Stream:
    """The newest events, or those after a cursor; `since` is a cursor that is itself included.

    `kind` is one of KINDS, or "" for all. A cursor that is not one is ignored.
    """
    key = paging.decode(since or after, 3)
    if key is not None and not _is_time(key[0]):
        key = None
    found: list[Event] = []
    if kind != "messages":
        found += [
            Event(entry.at, ACT, entry.pk, entry=entry)
            for entry in _beyond(_acts(campaign, kind), "at", ACT, key, bool(since))
        ]
    if kind in ("", "messages"):
        # Settled rows have an index by time, claimed ones are few; together they would have none.
        for states in (SETTLED, (Message.State.CLAIMED,)):
            some = campaign.messages.filter(state__in=states)
            rows = some.select_related("lead", "account").defer("text")
            found += [
                Event(row.updated_at, MESSAGE, row.pk, message=row)
                for row in _beyond(rows, "updated_at", MESSAGE, key, bool(since))
            ]
    found.sort(key=attrgetter("at", "rank", "pk"), reverse=True)
    events = list(islice(found, SIZE))
    return Stream(events, events[-1].cursor if len(found) > SIZE else "")


def _acts(campaign: Campaign, kind: str) -> QuerySet[AuditEntry]:
    """The audit entries of the campaign and of its messages."""
    # Asked of each entry: entries are fewer than the messages of a large campaign.
    its = Exists(campaign.messages.filter(pk=OuterRef("object_id")))
    of_messages = Q(its, object_type=Message._meta.label_lower)
    entries = AuditEntry.objects.filter(
        Q(object_type=campaign._meta.label_lower, object_id=campaign.pk) | of_messages
    )
    if kind == "people":
        return entries.exclude(actor="system")
    if kind == "system":
        return entries.filter(actor="system")
    return entries


def _beyond(rows: QuerySet, field: str, rank: int, key: list[int] | None, with_key: bool) -> list:  # type: ignore[type-arg]  # of two models
    """The first rows of one source that come after the key in the merged order."""
    if key is not None:
        at, key_rank, key_pk = EPOCH + timedelta(microseconds=key[0]), key[1], key[2]
        same = Q()
        if rank > key_rank:
            same = Q(pk__in=())
        elif rank == key_rank:
            same = Q(pk__lte=key_pk) if with_key else Q(pk__lt=key_pk)
        # The first condition is where an index by time begins.
        rows = rows.filter(
            Q(**{f"{field}__lte": at}), Q(**{f"{field}__lt": at}) | Q(**{field: at}) & same
        )
    return list(rows.order_by(f"-{field}", "-pk")[: SIZE + 1])


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _is_time(micros: int) -> bool:
    """Whether a number out of a cursor is a moment that a database knows."""
    return 0 <= micros < 4_102_444_800_000_000  # the year 2100
