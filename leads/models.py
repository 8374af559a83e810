"""Leads, their scores, and the ICP versions they are scored against."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from agenticos import scope
from agenticos.leasing import Lease
from leads.import_models import (
    ImportedLead as ImportedLead,
    ImportMapping as ImportMapping,
    ImportProblem as ImportProblem,
    LeadImport as LeadImport,
)
from leads.job_models import BulkJob as BulkJob, BulkRow as BulkRow, SavedView as SavedView
from tenants.models import Membership, Tenant, User
from tenants.owned import ScopedManager, TenantOwned, TenantQuerySet


class Band(models.TextChoices):
    """How well a lead fits: the thresholds are the ICP version's."""

    HOT = "HOT", _("Hot")
    WARM = "WARM", _("Warm")
    COLD = "COLD", _("Cold")
    NURTURING = "NURTURING", _("Nurturing")


class IcpVersion(Lease, TenantOwned):
    """One description of the ideal customer. Immutable once published."""

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        SCORING = "scoring", _("Scoring")  # leads are being scored; the old scores serve
        LIVE = "live", _("Live")
        RETIRED = "retired", _("Retired")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="icp_versions", db_index=False
    )
    number = models.PositiveIntegerField()
    config = models.JSONField()
    note = models.CharField(_("note"), max_length=200, blank=True)
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)
    # The re-scoring's checkpoint: every lead up to this id has a score under this version.
    scored_up_to = models.BigIntegerField(default=0)
    scored = models.PositiveIntegerField(default=0)
    # When the scores of a version that nobody looks back to any more were removed.
    pruned_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("ICP version")
        verbose_name_plural = _("ICP versions")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "number"], name="icp_version_number"),
            # One re-scoring at a time per tenant.
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(state="scoring"), name="icp_one_scoring"
            ),
        ]

    def __str__(self) -> str:
        return f"v{self.number}"


class Icp(TenantOwned):
    """The pointer to the version whose scores are in force: switching it is O(1)."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="icp")
    live = models.ForeignKey(IcpVersion, on_delete=models.RESTRICT, related_name="+")

    class Meta(TenantOwned.Meta):
        verbose_name = _("ICP")

    def __str__(self) -> str:
        return str(self.live)


class IcpDraft(TenantOwned):
    """The configuration that somebody is working on; one per tenant, gone when it is published."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="icp_draft")
    config = models.JSONField()
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("ICP draft")

    def __str__(self) -> str:
        return f"{self.updated_at:%Y-%m-%d}"


class LeadQuerySet(TenantQuerySet["Lead"]):
    """Leads that chain: `tenant.leads.scored_under(version).in_band("HOT")`."""

    def scored_under(self, version_id: int) -> LeadQuerySet:
        """Join the score of one ICP version; annotates total, band, eligible, score_id."""
        # The tenant is named too: the indexes that order leads by score begin with it.
        mine = models.Q(scores__tenant_id=scope.tenant_id(), scores__version_id=version_id)
        score = models.FilteredRelation("scores", condition=mine)
        return self.alias(score=score).annotate(
            total=models.F("score__total"),
            band=models.F("score__band"),
            eligible=models.F("score__eligible"),
            ineligible_reason=models.F("score__reason"),
        )


class Lead(TenantOwned):
    """A person the tenant may write to, as far as it knows them. None means unknown."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="leads", db_index=False
    )
    handle = models.CharField(_("handle"), max_length=30)
    name = models.CharField(_("name"), max_length=200, blank=True)
    bio = models.TextField(_("bio"), blank=True)
    followers = models.BigIntegerField(_("followers"), null=True, blank=True)
    following = models.BigIntegerField(_("following"), null=True, blank=True)
    posts = models.BigIntegerField(_("posts"), null=True, blank=True)
    recent_posts = models.BigIntegerField(_("recent posts"), null=True, blank=True)
    engagement = models.DecimalField(
        _("engagement, %"), max_digits=9, decimal_places=4, null=True, blank=True
    )
    is_private = models.BooleanField(_("private"), null=True, blank=True)
    is_business = models.BooleanField(_("business"), null=True, blank=True)
    is_verified = models.BooleanField(_("verified"), null=True, blank=True)
    category = models.CharField(_("category"), max_length=120, blank=True)
    frequency = models.CharField(_("posting frequency"), max_length=40, blank=True)
    email = models.CharField(_("e-mail"), max_length=254, blank=True)
    phone = models.CharField(_("phone"), max_length=20, blank=True)
    city = models.CharField(_("city"), max_length=120, blank=True)
    website = models.CharField(_("website"), max_length=300, blank=True)
    ghl_id = models.CharField(_("GHL contact"), max_length=80, blank=True)
    instagram_scoped_id = models.CharField(max_length=80, blank=True)
    source = models.CharField(_("source"), max_length=80, blank=True)
    # Who in the team answers for this lead. People and jobs set it; imports and programs never do.
    owner = models.ForeignKey(
        Membership,
        verbose_name=_("owner"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="owned_leads",
        db_index=False,
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    # Set with the suppression of any of this lead's identities, in the same transaction.
    suppressed_at = models.DateTimeField(null=True, blank=True)
    # The contact policy's reservation: when a first message was begun, and by which ledger row.
    # Taken in one conditional UPDATE, so two campaigns can never both write first.
    first_touch_at = models.DateTimeField(null=True, blank=True)
    first_touch_by = models.BigIntegerField(null=True, blank=True)

    objects = ScopedManager.from_queryset(LeadQuerySet)()  # type: ignore[assignment,misc]  # made while running

    # What the handle of an erased person begins with: no handle has a hyphen.
    ERASED: ClassVar[str] = "erased-"

    class Meta(TenantOwned.Meta):
        verbose_name = _("lead")
        verbose_name_plural = _("leads")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "handle"], name="lead_handle"),
            models.UniqueConstraint(
                fields=["tenant", "ghl_id"],
                condition=~models.Q(ghl_id=""),
                name="lead_ghl_id",
            ),
        ]
        indexes = [
            # Matching by mail and phone; clinics share phones, so neither is unique.
            models.Index(
                fields=["tenant", "email"], name="lead_email", condition=~models.Q(email="")
            ),
            models.Index(
                fields=["tenant", "phone"], name="lead_phone", condition=~models.Q(phone="")
            ),
            # The list's order by followers, and the sources to choose from.
            models.Index(
                fields=["tenant", "-followers", "id"],
                name="lead_most_followers",
                condition=models.Q(followers__isnull=False),
            ),
            models.Index(fields=["tenant", "source"], name="lead_source"),
            # Whose leads? Also asked when a member goes.
            models.Index(
                fields=["tenant", "owner", "-id"],
                name="lead_of_owner",
                condition=models.Q(owner__isnull=False),
            ),
            # Who may get no first message now: an audience's count reads no lead for it.
            models.Index(
                fields=["tenant", "id"],
                include=["suppressed_at", "first_touch_at"],
                condition=models.Q(suppressed_at__isnull=False)
                | models.Q(first_touch_at__isnull=False),
                name="lead_held",
            ),
        ]

    def __str__(self) -> str:
        return f"@{self.handle}"

    def get_absolute_url(self) -> str:
        return reverse("leads:detail", args=[self.tenant.slug, self.pk])

    @property
    def is_erased(self) -> bool:
        """Whether this is what is left of a person who was erased."""
        return self.handle.startswith(self.ERASED)


class LeadScore(TenantOwned):
    """A lead's score under one ICP version, with its breakdown."""

    # No key to the tenant in the database: the lead's has the tenant in it, and each is checked for
    # every row. So it is in the three tables that get a row for each lead of an import.
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        related_name="lead_scores",
        db_index=False,
        db_constraint=False,
    )
    lead = models.ForeignKey(Lead, on_delete=models.CASCADE, related_name="scores")
    version = models.ForeignKey(
        IcpVersion,
        on_delete=models.CASCADE,
        related_name="scores",
        db_index=False,  # those with the tenant before it serve
    )
    total = models.PositiveSmallIntegerField()
    band = models.CharField(max_length=10, choices=Band.choices)
    eligible = models.BooleanField()
    reason = models.CharField(max_length=40, blank=True)  # why not eligible
    # scoring.Score.breakdown: points and evidence by criterion; they sum to `total`.
    breakdown = models.JSONField()
    # scoring.facts.pack(): natural points by criterion, for the what-if. None: scored by a release
    # that did not keep them. Who has it has `LeadFacts`, too.
    packed = models.BigIntegerField(null=True)

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "version", "lead"], name="lead_score_once"),
            models.CheckConstraint(
                condition=models.Q(total__gte=0, total__lte=100), name="lead_score_range"
            ),
        ]
        indexes = [
            # The lead list and the audience: best first, paged by key.
            models.Index(
                fields=["tenant", "version", "-total", "lead"], name="lead_score_best_first"
            ),
            models.Index(
                fields=["tenant", "version", "band", "-total", "lead"], name="lead_score_band"
            ),
            # What an audience is counted by. A score's breakdown makes its row wide; this is not.
            models.Index(
                fields=["tenant", "version", "lead"],
                include=["total", "band", "eligible"],
                name="lead_score_counted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.total} {self.band}"


class LeadFacts(TenantOwned):
    """scoring.facts.Facts of a lead: what a what-if reads in its place. Scoring writes it."""

    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        related_name="lead_facts",
        db_index=False,
        db_constraint=False,  # see LeadScore
    )
    lead = models.OneToOneField(Lead, on_delete=models.CASCADE, related_name="facts")
    bio_words = models.TextField(blank=True)
    name_words = models.TextField(blank=True)
    other_words = models.TextField(blank=True)
    followers = models.BigIntegerField(null=True)
    rate = models.BigIntegerField(null=True)
    known = models.IntegerField()
    gates = models.SmallIntegerField()

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "lead"], name="lead_facts_once"),
        ]

    def __str__(self) -> str:
        return str(self.lead_id)


class LeadTag(TenantOwned):
    """A name that groups leads: the list of an import, or a tag given by hand."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="lead_tags", db_index=False
    )
    lead = models.ForeignKey(Lead, on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(_("name"), max_length=80)

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "name", "lead"], name="lead_tag_once"),
        ]

    def __str__(self) -> str:
        return self.name


class Suppression(TenantOwned):
    """An identity that must never be written to: a keyed hash, so that it survives erasure."""

    class Kind(models.TextChoices):
        HANDLE = "handle", _("Handle")
        EMAIL = "email", _("E-mail")
        PHONE = "phone", _("Phone")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="suppressions", db_index=False
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    digest = models.CharField(max_length=64)
    reason = models.CharField(max_length=40)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "kind", "digest"], name="suppression_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"
