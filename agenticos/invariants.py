"""What must hold in the data at every moment, counted.

Each invariant counts its violations in one statement per question, so that a system at work shows
one moment and no false alarm. Run them in the system scope, or in a tenant's for its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import CharField, Count, Exists, F, IntegerField, OuterRef, Q, Subquery, Value
from django.db.models.functions import Cast, Coalesce, Concat
from django.utils.translation import gettext_noop as _

from agenticos import scope
from agenticos.clock import database_now
from campaigns import daycaps, pacing
from campaigns.models import (
    AccountUsage,
    Campaign,
    CampaignCounts,
    CampaignUsage,
    Message,
    SendingAccount,
    TenantUsage,
)
from integrations.models import Connection, SyncItem
from leads.models import ImportedLead, Lead, LeadImport, LeadScore
from leads.scoring import from_compact
from tenants.models import Tenant
from tenants.owned import TenantOwned

SHOWN = 1000  # more violations than this are counted as this many
SAMPLE = 2000
STALE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A sentence that must be true; `count` says how often it is not; `look` how to see where."""

    name: str
    sentence: str
    look: str
    count: Callable[[bool], int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """An invariant's violations, at most SHOWN of them."""

    invariant: Invariant
    violations: int

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.invariant.name,
            "violations": self.violations,
            "sentence": self.invariant.sentence,
            "look": self.invariant.look,
        }


def check(*, full: bool = False) -> list[Outcome]:
    """Count every invariant's violations. `full` reads all breakdowns instead of the newest."""
    return [Outcome(invariant, invariant.count(full)) for invariant in INVARIANTS]


def _number(rows: models.QuerySet[Any, Any]) -> int:
    """How many rows there are, but never more than SHOWN."""
    return len(rows.order_by()[:SHOWN].values_list("pk", flat=True))


def _tenants() -> models.QuerySet[Tenant]:
    """All tenants in the system scope; in a tenant's, that one."""
    if scope.required().is_system:
        return Tenant.objects.all()
    return Tenant.objects.filter(pk=scope.tenant_id())


# --- Messages ---------------------------------------------------------------------------------


def messaged_twice(full: bool) -> int:
    """Two rows, or two sends, for one tenant, campaign, lead and step."""
    groups = Message.objects.values("tenant_id", "campaign_id", "lead_id", "step_number")
    return len(groups.annotate(n=Count("pk")).filter(n__gt=1).order_by()[:SHOWN])


def first_touches_too_close(full: bool) -> int:
    """First messages to one lead by two campaigns within the tenant's contact gap."""
    found = 0
    for pk, days in _tenants().filter(contact_gap_days__gt=0).values_list("pk", "contact_gap_days"):
        first = Message.objects.filter(tenant=pk, step_number=1, state=Message.State.SENT)
        later = first.filter(
            Q(sent_at__gt=OuterRef("sent_at"))
            | Q(sent_at=OuterRef("sent_at"), pk__gt=OuterRef("pk")),
            lead=OuterRef("lead"),
            sent_at__lt=OuterRef("sent_at") + timedelta(days=days),
        ).exclude(campaign=OuterRef("campaign"))
        found += _number(first.filter(Exists(later)))
    return min(found, SHOWN)


def sent_without_proof(full: bool) -> int:
    """A sent message must say when it went out; only a person's word stands without an id."""
    sent = Message.objects.filter(state=Message.State.SENT)
    by_nobody = Q(resolved_by=None) & (Q(provider_id="") | Q(dispatched_at=None))
    return _number(sent.filter(Q(sent_at=None) | by_nobody))


def counters_differ(full: bool) -> int:
    """Counters that are not their rows, and campaigns with rows but no counters."""

    def rows(state: str) -> Coalesce:
        counted = (
            Message.objects.filter(campaign=OuterRef("campaign"), state=state)
            .order_by()
            .values("campaign")
            .annotate(n=Count("pk"))
            .values("n")
        )
        return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

    names = CampaignCounts.BUCKETS
    counts = CampaignCounts.objects.annotate(**{f"n_{name}": rows(name) for name in names})
    wrong = Q()
    total: Any = Value(0)
    for name in names:
        wrong |= ~Q(**{name: F(f"n_{name}")})
        total = total + F(f"n_{name}")
    wrong |= ~Q(audience=total)
    missing = Campaign.objects.filter(counts=None).filter(
        Exists(Message.objects.filter(campaign=OuterRef("pk")))
    )
    return _number(counts.filter(wrong)) + _number(missing)


def claims_without_lease(full: bool) -> int:
    """Claims whose lease ended minutes ago, or that have no token: nobody works on them."""
    past = database_now() - STALE
    over = Q(lease_until__lt=past) | Q(lease_until=None) | Q(claim_token="")
    return (
        _number(Message.objects.filter(over, state=Message.State.CLAIMED))
        + _number(SyncItem.objects.filter(over, state=SyncItem.State.CLAIMED))
        + _number(SendingAccount.objects.exclude(claim_token="").filter(lease_until__lt=past))
    )


def open_in_ended(full: bool) -> int:
    """Rows that could still leave, in a campaign that is over."""
    return _number(
        Message.objects.filter(
            state__in=[Message.State.QUEUED, Message.State.CLAIMED],
            campaign__state__in=[Campaign.State.FINISHED, Campaign.State.CANCELLED],
        )
    )


def sent_without_sync(full: bool) -> int:
    """Sent messages that the tenant's CRM will never hear of."""
    crm = Connection.objects.filter(
        tenant=OuterRef("tenant"), kind=Connection.Kind.GHL, created_at__lte=OuterRef("sent_at")
    ).exclude(state=Connection.State.OFF)
    item = SyncItem.objects.filter(tenant=OuterRef("tenant"), key=OuterRef("sync_key"))
    sent = Message.objects.filter(state=Message.State.SENT).annotate(
        sync_key=Concat(Value("lead:"), Cast("lead_id", CharField()))
    )
    return _number(sent.filter(Exists(crm)).filter(~Exists(item)))


# --- Accounts, leads, tenants -----------------------------------------------------------------


def usage_negative(full: bool) -> int:
    """An allowance given back more often than it was taken."""
    return _number(AccountUsage.objects.filter(used__lt=0))


def over_cap(full: bool) -> int:
    """Days and hours of which more was taken than the cap in force at that moment allows."""
    return _number(AccountUsage.objects.filter(used__gt=F("cap")))


def over_day_cap(full: bool) -> int:
    """Days with more than the plan's, or a campaign's own cap allows, and uncounted messages.

    What had left before a cap was set is in `counted`, and no breach. A day's row says at least
    what the ledger says: less would let more leave than the cap.
    """
    over = Q(used__gt=F("cap"), cap__isnull=False) & Q(used__gt=F("counted"))
    found = _number(TenantUsage.objects.filter(over)) + _number(CampaignUsage.objects.filter(over))
    now = database_now()
    for tenant in _tenants().filter(max_messages_day__isnull=False):
        day = pacing.day_period(now, tenant.zone)
        row = TenantUsage.objects.filter(tenant=tenant, period=day).first()
        if row and row.cap == tenant.max_messages_day:
            found += row.used < daycaps.left_on(tenant, now).count()
    return min(found, SHOWN)


def touched_without_message(full: bool) -> int:
    """First touches taken by a message that is gone: the proof that somebody was written to."""
    taker = Message.objects.filter(tenant=OuterRef("tenant"), pk=OuterRef("first_touch_by"))
    return _number(Lead.objects.filter(~Exists(taker), first_touch_by__isnull=False))


def undone_and_there(full: bool) -> int:
    """Leads that an undone import made and neither removed nor says why not."""
    made = ImportedLead.objects.filter(fate=ImportedLead.Fate.CREATED, lead__isnull=False)
    return _number(made.filter(kept="", lead_import__state=LeadImport.State.UNDONE))


def scores_differ(full: bool) -> int:
    """Scores that are not the sum of their breakdown: of the newest ones, or of all."""
    rows = LeadScore.objects.order_by("-pk").values_list("total", "breakdown")
    wrong = 0
    for total, breakdown in rows.iterator(chunk_size=2000) if full else rows[:SAMPLE]:
        try:
            wrong += sum(line.points for line in from_compact(breakdown)) != total
        except ValueError:
            wrong += 1
    return min(wrong, SHOWN)


def references_between_tenant_tables() -> Iterator[tuple[type[TenantOwned], str]]:
    """Every foreign key from a tenant's table to a tenant's table, as (model, field name)."""
    for model in apps.get_models(include_auto_created=True):
        if issubclass(model, TenantOwned):
            for field in model._meta.concrete_fields:
                target = field.related_model
                if isinstance(target, type) and issubclass(target, TenantOwned):
                    yield model, field.name


def pointing_across(full: bool) -> int:
    """Rows whose foreign key leads to a row of another tenant."""
    return sum(
        _number(
            model.objects.filter(**{f"{name}__isnull": False}).filter(
                ~Q(**{f"{name}__tenant": F("tenant")})
            )
        )
        for model, name in references_between_tenant_tables()
    )


INVARIANTS = [
    Invariant(
        "messaged-once",
        _("Nobody is messaged twice for one step of a campaign."),
        "Group Message by tenant, campaign, lead and step_number; compare with the provider's log.",
        messaged_twice,
    ),
    Invariant(
        "first-touch-gap",
        _("No lead gets first messages of two campaigns within the contact gap."),
        "Message with step_number 1 by lead, over campaigns; was the tenant's gap raised since?",
        first_touches_too_close,
    ),
    Invariant(
        "sent-proven",
        _("Every sent message has its time and the provider's id, or a person's word."),
        "Message in state sent without sent_at, or without provider_id and resolved_by.",
        sent_without_proof,
    ),
    Invariant(
        "counters",
        _("The counters of every campaign equal its rows."),
        "CampaignCounts beside Message grouped by campaign and state.",
        counters_differ,
    ),
    Invariant(
        "claims-leased",
        _("Every claim has a token and a living lease."),
        "Message, SyncItem, SendingAccount with lease_until minutes ago: do workers run (doctor)?",
        claims_without_lease,
    ),
    Invariant(
        "ended-closed",
        _("Nothing is open in a finished or cancelled campaign."),
        "Message in state queued or claimed whose campaign is finished or cancelled.",
        open_in_ended,
    ),
    Invariant(
        "sent-synced",
        _("Every sent message has its CRM sync row, where the tenant has a CRM."),
        "Message in state sent whose lead has no SyncItem with the key lead:<id>.",
        sent_without_sync,
    ),
    Invariant(
        "tenants-apart",
        _("No row points to a row of another tenant."),
        "For each foreign key between tenant tables: rows whose target has another tenant_id.",
        pointing_across,
    ),
    Invariant(
        "touch-proven",
        _("Every first touch of a lead has its message."),
        "Lead whose first_touch_by is the id of no Message.",
        touched_without_message,
    ),
    Invariant(
        "undo-whole",
        _("An undone import has removed every lead it made, or says why not."),
        "ImportedLead with fate created and an empty kept, of a LeadImport in state undone.",
        undone_and_there,
    ),
    Invariant(
        "scores-sum",
        _("Every score is the sum of its breakdown (the newest; all with --full)."),
        "LeadScore whose total is not the sum of the points in breakdown.",
        scores_differ,
    ),
    Invariant(
        "usage-positive",
        _("No account has used less than nothing."),
        "AccountUsage with used below 0.",
        usage_negative,
    ),
    Invariant(
        "caps-kept",
        _("No account has used more than its caps allowed, in a day or an hour."),
        "AccountUsage with used above cap, the one in force when something was taken last.",
        over_cap,
    ),
    Invariant(
        "day-caps-kept",
        _("No workspace and no campaign has sent more in a day than its own cap allowed."),
        "TenantUsage and CampaignUsage beside cap, and beside Message by claimed_at.",
        over_day_cap,
    ),
]
