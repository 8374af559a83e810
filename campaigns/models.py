"""Campaigns, the accounts they send through, and the ledger of messages."""

from __future__ import annotations

import zoneinfo
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agenticos.leasing import Lease, Leased
from agenticos.states import Stateful
from campaigns.checkups import Checkup as Checkup
from campaigns.codes import sentence
from campaigns.texts import Template as Template, TemplateVersion as TemplateVersion
from campaigns.trial_models import TestSend as TestSend
from campaigns.usage import CampaignUsage as CampaignUsage, TenantUsage as TenantUsage
from integrations.models import Connection
from leads.models import IcpVersion, Lead
from tenants.limits import Limited
from tenants.models import Tenant, User, check_time_zone
from tenants.owned import TenantOwned


class ErrorLimit(models.Model):
    """When so large a share of what was settled lately went wrong, it stops by itself."""

    error_percent = models.PositiveSmallIntegerField(
        _("stop at this share of errors, %"),
        default=40,
        db_default=40,
        validators=[MaxValueValidator(100)],
        help_text=_("0: never. From five errors on."),
    )
    error_window_min = models.PositiveSmallIntegerField(
        _("errors of the last … minutes"),
        default=60,
        db_default=60,
        validators=[MinValueValidator(5), MaxValueValidator(1440)],
    )
    # A person let it go on: what went wrong before counts no more.
    errors_since = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class SendingAccount(Limited, Lease, ErrorLimit, TenantOwned):
    """An account that messages leave from: its pace, its health, and its turn.

    `next_at` is when a worker should look at it again: the account's gap, cap or window decides
    it; None means that it has nothing to send. Whoever makes work for an account sets it to now.
    """

    plan_limit = "max_accounts"

    class State(models.TextChoices):
        ACTIVE = "active", _("Active")
        BLOCKED = "blocked", _("Blocked")
        OFF = "off", _("Off")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="sending_accounts", db_index=False
    )
    connection = models.OneToOneField(
        Connection, on_delete=models.CASCADE, related_name="sending_account"
    )
    handle = models.CharField(_("handle"), max_length=30)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ACTIVE)
    block_code = models.CharField(max_length=60, blank=True)
    block_sentence = models.CharField(max_length=300, blank=True)  # English, a msgid
    block_detail = models.CharField(max_length=300, blank=True)  # the provider's words
    blocked_at = models.DateTimeField(null=True, blank=True)
    day_cap = models.PositiveIntegerField(_("messages a day"), default=50)
    hour_cap = models.PositiveIntegerField(_("messages an hour"), default=10)
    gap_min_s = models.PositiveIntegerField(_("shortest pause, seconds"), default=60)
    gap_max_s = models.PositiveIntegerField(_("longest pause, seconds"), default=90)
    jitter_percent = models.PositiveSmallIntegerField(_("jitter, ± %"), default=15)
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        validators=[check_time_zone],
        help_text=_("Its days and hours are counted here. Empty: the workspace's."),
    )
    # Who gets its test messages: a handle, or the id that Instagram gave this account for them.
    test_recipient = models.CharField(
        _("test recipient"), max_length=64, blank=True, default="", db_default=""
    )
    next_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The end of the pause after the last send. Apart from `next_at`, which new work sets to now.
    free_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    # How often in a row the provider said "later": the pause doubles each time.
    later_in_row = models.PositiveSmallIntegerField(default=0, editable=False)

    class Meta(TenantOwned.Meta):
        verbose_name = _("sending account")
        verbose_name_plural = _("sending accounts")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "handle"], name="sending_account_handle"),
            models.CheckConstraint(
                condition=Q(gap_min_s__lte=models.F("gap_max_s")), name="sending_account_gap"
            ),
        ]
        indexes = [
            # Whose turn is it? Across all tenants, so it begins with the time.
            models.Index(
                fields=["next_at"],
                name="sending_account_turn",
                condition=Q(state="active", next_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"@{self.handle}"

    @property
    def why(self) -> str:
        """Why it is blocked, in the reader's language."""
        return sentence(self.block_code, self.block_sentence) if self.block_code else ""

    def zone(self, tenant: Tenant) -> zoneinfo.ZoneInfo:
        """The zone in which its days and hours are counted."""
        return zoneinfo.ZoneInfo(self.time_zone) if self.time_zone else tenant.zone


class AccountUsage(TenantOwned):
    """How much of an account's cap is taken in one day or one hour of its own zone."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="account_usage", db_index=False
    )
    account = models.ForeignKey(SendingAccount, on_delete=models.CASCADE, related_name="usage")
    # "2026-11-22" for a day, "2026-11-22T14" for an hour; with the offset, so the hour that a
    # change of clocks repeats is two hours.
    period = models.CharField(max_length=20)
    used = models.IntegerField(default=0)
    # The cap in force when something was taken last; NULL in rows from before it was kept.
    cap = models.IntegerField(null=True)

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "account", "period"], name="account_usage_once"
            ),
            models.CheckConstraint(condition=Q(used__gte=0), name="account_usage_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.period}: {self.used}"


class Campaign(Stateful, Lease, ErrorLimit, TenantOwned):
    """An audience, a sequence of texts, accounts and a pace."""

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        SCHEDULED = "scheduled", _("Scheduled")
        PREPARING = "preparing", _("Preparing")
        RUNNING = "running", _("Running")
        PAUSED = "paused", _("Paused")
        BLOCKED = "blocked", _("Blocked")
        FINISHED = "finished", _("Finished")
        CANCELLED = "cancelled", _("Cancelled")
        FAILED = "failed", _("Failed")

    MOVES: ClassVar[dict[str, set[str]]] = {
        State.DRAFT: {State.SCHEDULED, State.PREPARING, State.CANCELLED},
        State.SCHEDULED: {State.DRAFT, State.PREPARING, State.CANCELLED},
        State.PREPARING: {State.RUNNING, State.FAILED, State.CANCELLED},
        State.RUNNING: {State.PAUSED, State.BLOCKED, State.FINISHED, State.CANCELLED},
        State.PAUSED: {State.RUNNING, State.CANCELLED},
        State.BLOCKED: {State.RUNNING, State.CANCELLED},
        State.FINISHED: {State.RUNNING},  # a person retries a failed or unknown row
        State.FAILED: {State.DRAFT, State.CANCELLED},
    }

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="campaigns", db_index=False
    )
    name = models.CharField(_("name"), max_length=120)
    tags = models.CharField(_("tags"), max_length=200, blank=True)  # "spring, dentists"
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)
    # Why it is blocked or failed: a code of campaigns/codes.py, and the provider's own words.
    reason = models.CharField(max_length=60, blank=True)
    reason_sentence = models.CharField(max_length=300, blank=True)  # English, a msgid
    reason_detail = models.CharField(max_length=300, blank=True)
    # {"kind": "filter", "bands": […], "tag": "…", "source": "…"}, the last two if narrowed by
    # them, or {"kind": "handles", "handles": […]}
    audience = models.JSONField(default=dict)
    limit = models.PositiveIntegerField(_("limit"), default=500)
    min_score = models.PositiveSmallIntegerField(_("minimum score"), default=0)
    accounts: models.ManyToManyField[SendingAccount, CampaignAccount] = models.ManyToManyField(
        SendingAccount, through="CampaignAccount", related_name="campaigns"
    )
    # {"days": [0 … 6, Monday first], "from": "09:00", "to": "20:00"}; empty: always open.
    window = models.JSONField(default=dict, blank=True)
    # Its own limit of a day in the tenant's zone, beside those of its accounts; NULL: none.
    day_cap = models.PositiveIntegerField(_("messages a day, at most"), null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    # When a person planned its start: read only while it is scheduled.
    starts_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    # Checkpoint of `preparing`: the version whose scores order the audience, and the last row.
    icp_version = models.ForeignKey(
        IcpVersion, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    prepared_total = models.PositiveSmallIntegerField(null=True, blank=True)
    prepared_lead = models.BigIntegerField(default=0)
    prepared = models.PositiveIntegerField(default=0)

    class Meta(TenantOwned.Meta):
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.CheckConstraint(
                condition=Q(
                    state__in=[
                        "draft",
                        "scheduled",
                        "preparing",
                        "running",
                        "paused",
                        "blocked",
                        "finished",
                        "cancelled",
                        "failed",
                    ]
                ),
                name="campaign_state",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "state", "-id"], name="campaign_list"),
            # Whose time has come? Across all tenants, so it begins with the time.
            models.Index(
                fields=["starts_at"], name="campaign_starts", condition=Q(state="scheduled")
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("campaigns:detail", args=[self.tenant.slug, self.pk])

    @property
    def why(self) -> str:
        """Why it is paused, blocked or failed, in the reader's language; "" if a person did it."""
        return sentence(self.reason, self.reason_sentence) if self.reason else ""

    @property
    def tag_list(self) -> list[str]:
        return [tag for tag in self.tags.split(", ") if tag]

    @property
    def is_moving(self) -> bool:
        """Whether its numbers may change by themselves: only then does a page poll."""
        return self.state in (self.State.PREPARING, self.State.RUNNING)


class CampaignAccount(TenantOwned):
    """An account that a campaign may send through."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="account_links")
    account = models.ForeignKey(
        SendingAccount, on_delete=models.CASCADE, related_name="campaign_links"
    )

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "campaign", "account"], name="campaign_account_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}: {self.account_id}"


class CampaignCounts(TenantOwned):
    """How many ledger rows are in each state: kept in the transaction that moves the rows.

    A row of its own, since workers hold a share lock on the campaign while they write here.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    campaign = models.OneToOneField(Campaign, on_delete=models.CASCADE, related_name="counts")
    audience = models.IntegerField(default=0)
    queued = models.IntegerField(default=0)
    claimed = models.IntegerField(default=0)
    sent = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    unknown = models.IntegerField(default=0)
    skipped = models.IntegerField(default=0)
    cancelled = models.IntegerField(default=0)
    # Three refusals of our own request in a row stop the campaign (decision 3).
    rejected_in_row = models.PositiveSmallIntegerField(default=0)
    worked_at = models.DateTimeField(null=True, blank=True)  # the heartbeat on the page
    worked_by = models.CharField(max_length=80, blank=True)

    BUCKETS: ClassVar[tuple[str, ...]] = (
        "queued",
        "claimed",
        "sent",
        "failed",
        "unknown",
        "skipped",
        "cancelled",
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("campaign counts")

    def __str__(self) -> str:
        return f"{self.campaign_id}: {self.sent} of {self.audience}"

    @property
    def open(self) -> int:
        """Rows that may still leave."""
        return self.queued + self.claimed

    @property
    def sums(self) -> bool:
        """Whether the seven buckets sum to the audience, as they must at every moment."""
        return sum(int(getattr(self, name)) for name in self.BUCKETS) == self.audience


class Step(TenantOwned):
    """One text of the sequence; editing a running one writes the next version."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveSmallIntegerField(default=1)
    version = models.PositiveSmallIntegerField(default=1)
    delay_hours = models.PositiveIntegerField(_("hours after the step before"), default=0)
    body = models.TextField(_("text"))
    # The version in the library that says the same; None for a text of its own.
    origin = models.ForeignKey(
        TemplateVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="steps"
    )

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "campaign", "number", "version"], name="step_version"
            ),
            models.CheckConstraint(condition=Q(number__gte=1, number__lte=10), name="step_number"),
        ]

    def __str__(self) -> str:
        return f"{self.number} (v{self.version})"


class Message(Leased, TenantOwned):
    """The ledger: one row per campaign, lead and step. It is the queue and the truth.

    Rows move in `campaigns/ledger.py` and `campaigns/actions.py`, in bulk and guarded by
    `claim_token`; nothing else writes `state`.
    """

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        CLAIMED = "claimed", _("In flight")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Unknown")
        SKIPPED = "skipped", _("Skipped")
        CANCELLED = "cancelled", _("Cancelled")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    # Four writes move a row, and each pays for every index: look-ups go through the tenant's.
    campaign = models.ForeignKey(
        Campaign, on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    # The ledger says who was written to: no lead goes before its messages.
    lead = models.ForeignKey(
        Lead, on_delete=models.RESTRICT, related_name="messages", db_index=False
    )
    step_number = models.PositiveSmallIntegerField(default=1)
    step_version = models.PositiveSmallIntegerField(default=1)
    account = models.ForeignKey(
        SendingAccount,
        on_delete=models.SET_NULL,
        null=True,
        related_name="messages",
        db_index=False,
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    # The place in the audience, best first: hot before warm, then by score.
    position = models.PositiveIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    # Empty: the provider has surely not been called. Set: it may have been.
    dispatched_at = models.DateTimeField(null=True, blank=True)
    # Made at insert, sent with every call, kept as text: one spelling on every database.
    key = models.CharField(max_length=32)
    text = models.TextField(blank=True)  # frozen at the first render, so a retry says the same
    provider_id = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    sentence = models.CharField(max_length=300, blank=True)  # English, a msgid
    error = models.CharField(max_length=300, blank=True)  # the provider's own words
    sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    resolved_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "campaign", "lead", "step_number"], name="message_once"
            ),
            models.UniqueConstraint(fields=["tenant", "key"], name="message_key"),
            models.CheckConstraint(
                condition=Q(
                    state__in=[
                        "queued",
                        "claimed",
                        "sent",
                        "failed",
                        "unknown",
                        "skipped",
                        "cancelled",
                    ]
                ),
                name="message_state",
            ),
            # A claim has a token and an end, and nothing else has.
            models.CheckConstraint(
                condition=Q(state="claimed", lease_until__isnull=False)
                & ~Q(state="claimed", claim_token="")
                | ~Q(state="claimed") & Q(claim_token="", lease_until__isnull=True),
                name="message_lease",
            ),
        ]
        indexes = [
            # The claim: due rows of one campaign, best first.
            models.Index(
                fields=["tenant", "campaign", "due_at", "position"],
                name="message_due",
                condition=Q(state="queued"),
            ),
            # The reaper: claims, across all tenants. They are few, and without the lease in it a
            # renewed lease changes no index.
            models.Index(fields=["id"], name="message_claimed", condition=Q(state="claimed")),
            # Rows by state on the campaign's page, paged by key.
            models.Index(fields=["tenant", "campaign", "state", "position"], name="message_rows"),
            # The activity of a campaign: what became of rows, newest first.
            models.Index(
                fields=["tenant", "campaign", "-updated_at", "-id"],
                name="message_settled",
                condition=Q(state__in=("sent", "failed", "unknown", "skipped")),
            ),
            # A lead's messages.
            models.Index(fields=["tenant", "lead", "-id"], name="message_of_lead"),
        ]

    def __str__(self) -> str:
        return f"{self.campaign_id}/{self.lead_id}/{self.step_number}: {self.state}"

    @property
    def why(self) -> str:
        """Why it is where it is, in the reader's language."""
        return sentence(self.reason, self.sentence) if self.reason else ""
