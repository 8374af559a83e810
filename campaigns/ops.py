"""How the work of one tenant goes, for people who look after it: figures, queue, claims, letters.

Every function runs in the tenant's scope and asks a constant number of statements. What belongs to
the whole machine (`Workers`) says nothing about any tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from django.db.models import Count, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.urls import reverse
from django.utils.translation import gettext, gettext as _, ngettext

from agenticos.leasing import Lease
from agenticos.models import WorkerBeat
from campaigns import codes, diagnosis
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount, TestSend
from integrations.models import Connection, SyncItem
from leads.models import BulkJob, IcpVersion, LeadImport
from tenants.models import Tenant

BEAT_IS_OLD: Final = timedelta(seconds=30)
# A lease that ended longer ago than this was taken over by nobody: a living worker does it at once.
STUCK_AFTER: Final = timedelta(minutes=2)
ERRORS_OF: Final = timedelta(hours=1)
MINUTES: Final = 10
COUNT_MOST: Final = 10_000  # rows that are due are not counted further
SHOWN: Final = 50
GROUPS: Final = 10

IMPORTING: Final = (
    LeadImport.State.WAITING,
    LeadImport.State.RUNNING,
    LeadImport.State.REHEARSING,
    LeadImport.State.UNDOING,
)
WORKING: Final = (BulkJob.State.FREEZING, BulkJob.State.RUNNING)


# --- The workers: of the whole machine ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Workers:
    """The worker groups: how many show themselves, and when one last did (None: never)."""

    groups: int
    seen_at: datetime | None
    echoed_at: datetime | None  # when a task last came through the whole queue

    @property
    def silent(self) -> bool:
        return self.groups == 0


def workers(now: datetime) -> Workers:
    beats = WorkerBeat.objects.filter(stopped_at=None).aggregate(
        groups=Count("pk", filter=Q(seen_at__gt=now - BEAT_IS_OLD)),
        seen=Max("seen_at"),
        echoed=Max("echoed_at"),
    )
    return Workers(beats["groups"], beats["seen"], beats["echoed"])


# --- The figures --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of one kind of work waits, and the page where it is seen."""

    label: str
    count: int
    href: str
    more: bool = False  # there are more than were counted


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failures with one reason: `count` of them, and what the provider's answer means."""

    reason: str
    sentence: str
    count: int
    href: str


def _campaigns(now: datetime) -> QuerySet[Campaign]:
    """Those whose rows may have changed within the hour."""
    state = Campaign.State
    return Campaign.objects.filter(
        Q(state__in=[state.RUNNING, state.PAUSED, state.BLOCKED])
        | Q(finished_at__gte=now - ERRORS_OF)
    )


def depth(tenant: Tenant, now: datetime) -> list[Depth]:
    """What waits for a worker, by kind of work."""
    running = Campaign.objects.filter(state=Campaign.State.RUNNING)
    due = Message.objects.filter(
        campaign__in=running, state=Message.State.QUEUED, due_at__lte=now
    ).order_by()
    messages = due[: COUNT_MOST + 1].count()
    wishes = SyncItem.objects.filter(state=SyncItem.State.WAITING).order_by()
    waiting = wishes[: COUNT_MOST + 1].count()

    def to(route: str) -> str:
        return reverse(route, args=[tenant.slug])

    return [
        Depth(
            _("Messages due"),
            min(messages, COUNT_MOST),
            f"{to('campaigns:list')}?state=running",
            more=messages > COUNT_MOST,
        ),
        Depth(
            _("Wishes to the CRM"),
            min(waiting, COUNT_MOST),
            f"{to('integrations:outbox')}?state=waiting",
            more=waiting > COUNT_MOST,
        ),
        Depth(
            _("Imports"),
            LeadImport.objects.filter(state__in=IMPORTING).count(),
            to("leads:imports"),
        ),
        Depth(_("Jobs"), BulkJob.objects.filter(state__in=WORKING).count(), to("leads:jobs")),
        Depth(
            _("Versions being scored"),
            IcpVersion.objects.filter(state=IcpVersion.State.SCORING).count(),
            to("icp:versions"),
        ),
        Depth(
            _("Test messages"),
            TestSend.objects.filter(state=TestSend.State.CLAIMED).count(),
            to("accounts:list"),
        ),
    ]


def sent_by_minute(now: datetime) -> list[int]:
    """How many messages left in each of the last minutes, the present one last."""
    minute = timedelta(minutes=1)
    edges = [now - minute * back for back in range(MINUTES, -1, -1)]
    sent = Message.objects.filter(
        campaign__in=_campaigns(now),
        state=Message.State.SENT,
        updated_at__gt=edges[0],  # for the index: the row was last touched when it was sent
    )
    counts = sent.aggregate(
        **{
            f"m{place}": Count("pk", filter=Q(sent_at__gt=since, sent_at__lte=until))
            for place, (since, until) in enumerate(pairwise(edges))
        }
    )
    return [int(counts[f"m{place}"]) for place in range(MINUTES)]


def provider_troubles(tenant: Tenant, now: datetime) -> list[Trouble]:
    """Why messages failed, or nobody knows of them, within the hour, the most frequent first."""
    found = (
        Message.objects.filter(
            campaign__in=_campaigns(now),
            state__in=[Message.State.FAILED, Message.State.UNKNOWN],
            updated_at__gt=now - ERRORS_OF,
        )
        .order_by()
        .values("reason")
        .annotate(n=Count("pk"), words=Max("sentence"))
        .order_by("-n", "reason")[:GROUPS]
    )
    href = f"{reverse('ops:page', args=[tenant.slug])}?tab=letters"
    return [
        Trouble(row["reason"], codes.sentence(row["reason"], row["words"]), row["n"], href)
        for row in found
    ]


def line_troubles(tenant: Tenant, now: datetime) -> list[Trouble]:
    """What providers last refused or could not do on a connection within the hour, by code."""
    found = (
        Connection.objects.filter(trouble_at__gt=now - ERRORS_OF)
        .filter(Q(ok_at=None) | Q(ok_at__lt=F("trouble_at")))
        .order_by()
        .values("kind", "trouble_code")
        .annotate(n=Count("pk"), words=Max("trouble_sentence"))
        .order_by("-n", "trouble_code")[:GROUPS]
    )
    href = reverse("integrations:list", args=[tenant.slug])
    names = dict(Connection.Kind.choices)
    return [
        Trouble(
            row["trouble_code"],
            f"{names.get(row['kind'], row['kind'])}: "
            + (gettext(row["words"]) if row["words"] else row["trouble_code"]),
            row["n"],
            href,
        )
        for row in found
    ]


def crm_troubles(tenant: Tenant) -> list[Trouble]:
    """Why wishes to the CRM wait for another try or were given up, the most frequent first."""
    found = (
        SyncItem.objects.filter(state__in=[SyncItem.State.WAITING, SyncItem.State.FAILED])
        .exclude(reason="")
        .order_by()
        .values("state", "reason")
        .annotate(n=Count("pk"), words=Max("sentence"))
        .order_by("-n", "reason")[:GROUPS]
    )
    outbox = reverse("integrations:outbox", args=[tenant.slug])
    return [
        Trouble(
            row["reason"],
            gettext(row["words"]) if row["words"] else row["reason"],
            row["n"],
            f"{outbox}?state={row['state']}&reason={row['reason']}",
        )
        for row in found
    ]


# --- The queue ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """A running campaign, the time at which its oldest queued row was due, and what holds it."""

    campaign: Campaign
    due_at: datetime
    queued: int
    late: bool
    why: diagnosis.Diagnosis


def queue(tenant: Tenant, now: datetime) -> list[Waiting]:
    """The running campaigns with queued rows, the oldest due row first."""
    first = Message.objects.filter(campaign=OuterRef("pk"), state=Message.State.QUEUED).order_by(
        "due_at"
    )
    rows = list(
        Campaign.objects.filter(state=Campaign.State.RUNNING)
        .annotate(first_due=Subquery(first.values("due_at")[:1]))
        .filter(first_due__isnull=False)
        .select_related("counts", "tenant")
        .order_by("first_due", "pk")[:SHOWN]
    )
    due: dict[Campaign, datetime] = {row: row.first_due for row in rows}
    held = diagnosis.diagnose_due(tenant, due, now)
    return [Waiting(row, at, row.counts.queued, at <= now, held[row]) for row, at in due.items()]


# --- Claims -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that a worker holds until a time: `stuck` when nobody took it over after that."""

    what: str
    href: str
    worker: str
    until: datetime
    held: str
    over: bool
    stuck: bool


def claims(tenant: Tenant, now: datetime) -> list[Claim]:
    """What workers hold, or held and let run out, the first to end first."""
    found = [
        *_account_claims(tenant, now),
        *_wish_claims(tenant, now),
        *_work_claims(tenant, now),
    ]
    return sorted(found, key=lambda one: one.until)[:SHOWN]


def _claim(
    what: str, href: str, worker: str, until: datetime, now: datetime, held: str = ""
) -> Claim:
    return Claim(what, href, worker, until, held, until <= now, until <= now - STUCK_AFTER)


def _account_claims(tenant: Tenant, now: datetime) -> Iterable[Claim]:
    """Accounts with the messages claimed for them; and messages whose account is let go."""
    groups = {
        row["account_id"]: row
        for row in Message.objects.filter(state=Message.State.CLAIMED)
        .order_by()
        .values("account_id")
        .annotate(
            n=Count("pk"),
            flying=Count("dispatched_at"),
            until=Min("lease_until"),
            owner=Max("lease_owner"),
        )[:SHOWN]
    }
    accounts = SendingAccount.objects.filter(Q(pk__in=groups) | ~Q(claim_token="")).order_by(
        "lease_until", "pk"
    )
    for account in accounts[:SHOWN]:
        row = groups.get(account.pk)
        until = min(filter(None, (account.lease_until, row and row["until"])), default=None)
        if until is None:
            continue
        held = ""
        if row:
            words = ngettext("%(n)d message", "%(n)d messages", row["n"]) % {"n": row["n"]}
            flying = _("%(n)d at the provider") % {"n": row["flying"]}
            held = f"{words}, {flying}" if row["flying"] else words
        href = reverse("accounts:detail", args=[tenant.slug, account.pk])
        worker = account.lease_owner or (row["owner"] if row else "")
        yield _claim(str(account), href, worker, until, now, held)


def _wish_claims(tenant: Tenant, now: datetime) -> Iterable[Claim]:
    held = (
        SyncItem.objects.filter(state=SyncItem.State.CLAIMED, lease_until__isnull=False)
        .order_by()
        .values("connection", "connection__name", "lease_owner")
        .annotate(n=Count("pk"), until=Min("lease_until"))
        .order_by("until")[:SHOWN]
    )
    href = f"{reverse('integrations:outbox', args=[tenant.slug])}?state=claimed"
    for row in held:
        words = ngettext("%(n)d wish", "%(n)d wishes", row["n"]) % {"n": row["n"]}
        yield _claim(row["connection__name"], href, row["lease_owner"], row["until"], now, words)


def _work_claims(tenant: Tenant, now: datetime) -> Iterable[Claim]:
    """Imports, jobs, audiences and re-scorings that a worker holds."""
    sources: Sequence[tuple[QuerySet[Any], str, str]] = (
        (LeadImport.objects.all(), _("Import"), "leads:import"),
        (BulkJob.objects.all(), _("Job"), "leads:job"),
        (Campaign.objects.all(), _("Audience"), "campaigns:detail"),
        (IcpVersion.objects.all(), _("Scoring"), ""),
    )
    for rows, label, route in sources:
        held = rows.filter(lease_until__isnull=False).exclude(claim_token="").order_by("pk")
        for row in held[:SHOWN]:
            lease: Lease = row
            href = (
                reverse(route, args=[tenant.slug, row.pk])
                if route
                else reverse("icp:versions", args=[tenant.slug])
            )
            if lease.lease_until is not None:
                yield _claim(f"{label} {row.pk}", href, lease.lease_owner, lease.lease_until, now)


# --- Dead letters -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendLetters:
    """A campaign's messages that wait for a person: failed ones, and those nobody knows of."""

    campaign: Campaign
    failed: int
    unknown: int

    @property
    def may_retry(self) -> bool:
        return self.failed > 0 and self.campaign.state != Campaign.State.CANCELLED


@dataclass(frozen=True, slots=True)
class SyncLetters:
    """Wishes to the CRM that were given up for one reason."""

    reason: str
    sentence: str
    count: int
    attempts: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Letters:
    """What was given up and waits for a person."""

    sends: list[SendLetters]
    syncs: list[SyncLetters]
    n_sends: int
    n_syncs: int


def letters(*, rows: bool) -> Letters:
    """How many dead letters there are, and with `rows` of which campaigns and reasons."""
    counts = CampaignCounts.objects.filter(Q(failed__gt=0) | Q(unknown__gt=0))
    dead = SyncItem.objects.filter(state=SyncItem.State.FAILED).order_by()
    sends, syncs = [], []
    if rows:
        listed = counts.select_related("campaign__tenant").annotate(n=F("failed") + F("unknown"))
        sends = [
            SendLetters(row.campaign, row.failed, row.unknown)
            for row in listed.order_by("-unknown", "-n", "-campaign_id")[:SHOWN]
        ]
        groups = dead.values("reason").annotate(
            words=Max("sentence"), n=Count("pk"), since=Min("due_at"), most=Max("attempts")
        )
        syncs = [
            SyncLetters(
                row["reason"],
                gettext(row["words"]) if row["words"] else row["reason"],
                row["n"],
                row["most"],
                row["since"],
            )
            for row in groups.order_by("-n", "reason")[:SHOWN]
        ]
    total = counts.aggregate(n=Sum(F("failed") + F("unknown")))["n"]
    return Letters(sends, syncs, total or 0, dead.count())
