"""Leads, their scores, the ICP versions they are scored against, and imports."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from agenticos import scope
from agenticos.leasing import Lease, Leased
from agenticos.states import Stateful
from leads.importing.sentences import sentence_for
from leads.job_models import BulkJob as BulkJob, BulkRow as BulkRow, SavedView as SavedView
from tenants.models import Membership, Tenant, User
from tenants.owned import ScopedManager, TenantOwned, TenantQuerySet

# A column that is added while the code before it still writes: it knows no value for it.
NO_ENTRIES = models.Value({}, models.JSONField())


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

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="lead_scores", db_index=False
    )
    lead = models.ForeignKey(Lead, on_delete=models.CASCADE, related_name="scores")
    version = models.ForeignKey(IcpVersion, on_delete=models.CASCADE, related_name="scores")
    total = models.PositiveSmallIntegerField()
    band = models.CharField(max_length=10, choices=Band.choices)
    eligible = models.BooleanField()
    reason = models.CharField(max_length=40, blank=True)  # why not eligible
    # scoring.to_compact(): points and evidence by criterion; they sum to `total`.
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
        Tenant, on_delete=models.CASCADE, related_name="lead_facts", db_index=False
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


class LeadImport(Stateful, Leased, TenantOwned):
    """A file of leads on its way in: worked in chunks, resumed from its checkpoint.

    Through the wizard it is a draft, then rehearsed (nothing touches leads), then committed by a
    person; programs and commands start it in one step. Counters and checkpoint are the phase's.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        REHEARSING = "rehearsing", _("Being checked")
        READY = "ready", _("Ready to import")
        WAITING = "waiting", _("Waiting")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        UNDOING = "undoing", _("Being undone")
        UNDONE = "undone", _("Undone")

    class Policy(models.TextChoices):
        """What a row's values do to a lead that is there already."""

        OVERWRITE = "overwrite", _("Overwrite what is there")
        FILL = "fill", _("Only fill in what is empty")
        KEEP = "keep", _("Leave known leads as they are")

    MOVES: ClassVar[dict[str, set[str]]] = {
        State.DRAFT: {State.REHEARSING},
        State.REHEARSING: {State.READY, State.FAILED, State.DRAFT},
        State.READY: {State.WAITING, State.DRAFT},
        State.WAITING: {State.RUNNING, State.FAILED},
        State.RUNNING: {State.DONE, State.FAILED},
        State.DONE: {State.UNDOING},
        State.FAILED: {State.UNDOING},
        State.UNDOING: {State.UNDONE, State.FAILED},
    }

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="imports", db_index=False
    )
    file = models.FileField(upload_to="imports/%Y/%m/", max_length=200)
    file_name = models.CharField(_("file"), max_length=200)
    list_name = models.CharField(_("list"), max_length=80, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    dialect = models.JSONField(default=dict)  # encoding, delimiter, and whether it was assumed
    headers = models.JSONField(default=list)  # the names of the columns, in their order
    mapping = models.JSONField(default=dict)  # column index → field
    policy = models.CharField(max_length=10, choices=Policy.choices, default=Policy.OVERWRITE)
    # field → policy, where it is another than the import's
    policies = models.JSONField(default=dict, blank=True, db_default=NO_ENTRIES)
    # The checkpoint: the next record begins here. Moves in the transaction of its chunk.
    offset = models.BigIntegerField(default=0)
    line = models.PositiveIntegerField(default=1)
    size = models.BigIntegerField(default=0)
    records = models.PositiveIntegerField(default=0)
    suspect_until = models.BigIntegerField(default=0)  # importing.Checkpoint: after a broken quote
    created = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    warned = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)  # rows of a lead that an earlier row had
    suppressed = models.PositiveIntegerField(default=0)  # leads that must not be written to
    # What importing.sentence_for() makes a sentence of. Old rows hold the sentence itself.
    error_code = models.CharField(max_length=300, blank=True)
    error_params = models.JSONField(default=dict)
    # What the rehearsal had counted, once the import is committed.
    rehearsal = models.JSONField(default=dict)
    # How far the undoing is: total, seen, removed, restored, kept, and the cursor.
    undo = models.JSONField(default=dict)
    # When leads could first be touched; None while nothing is. Without it nothing can be undone.
    committed_at = models.DateTimeField(null=True, blank=True)
    started_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("import")
        verbose_name_plural = _("imports")

    def __str__(self) -> str:
        return self.file_name

    @property
    def percent(self) -> int:
        """Progress in whole percent of the file's bytes."""
        if self.state in (self.State.DONE, self.State.READY, self.State.UNDONE):
            return 100
        if self.state == self.State.UNDOING:
            return int(100 * self.undo.get("seen", 0) / (self.undo.get("total") or 1))
        return int(100 * self.offset / (self.size or 1))

    @property
    def error(self) -> str:
        """Why it failed, a sentence in the reader's language; empty when it did not."""
        return sentence_for(self.error_code, self.error_params) if self.error_code else ""


class ImportProblem(TenantOwned):
    """A row of an import that was refused, or taken with something left out."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="import_problems", db_index=False
    )
    lead_import = models.ForeignKey(LeadImport, on_delete=models.CASCADE, related_name="problems")
    line = models.PositiveIntegerField()
    rejected = models.BooleanField()
    code = models.CharField(max_length=40)
    params = models.JSONField(default=dict)
    raw = models.JSONField(default=list)

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            # A chunk worked twice reports its rows once.
            models.UniqueConstraint(
                fields=["tenant", "lead_import", "line", "code"], name="import_problem_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.line}: {self.code}"


class ImportedLead(TenantOwned):
    """What an import does to one lead: the staging of a rehearsal, then the log that undoes it.

    While rehearsing, `after` holds all values that the lead would have. Once committed, `before`
    and `after` hold the fields that changed.
    """

    class Fate(models.TextChoices):
        CREATED = "created", _("new")
        UPDATED = "updated", _("changed")
        SAME = "same", _("the same")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="imported_leads", db_index=False
    )
    lead_import = models.ForeignKey(
        LeadImport, on_delete=models.CASCADE, related_name="leads", db_index=False
    )
    # None while a new lead is only rehearsed. An erased lead takes its values along.
    lead = models.ForeignKey(Lead, on_delete=models.CASCADE, null=True, related_name="imported")
    handle = models.CharField(max_length=30)
    ghl_id = models.CharField(max_length=80, blank=True, default="")  # as rehearsed
    fate = models.CharField(max_length=10, choices=Fate.choices)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    suppressed = models.BooleanField(default=False)
    repeated = models.BooleanField(default=False)  # more than one row of the file is about it
    tagged = models.BooleanField(default=False)  # this import put it on the list
    kept = models.CharField(max_length=20, blank=True, default="")  # why the undo left it alone
    at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            # A chunk looks up the handles of its rows.
            models.UniqueConstraint(
                fields=["tenant", "lead_import", "handle"], name="imported_lead_once"
            ),
        ]
        indexes = [
            # The lists of new and changed leads, and the undoing, by id.
            models.Index(fields=["tenant", "lead_import", "fate"], name="imported_lead_fate"),
            # Whose is this GHL id, as rehearsed so far?
            models.Index(
                fields=["tenant", "lead_import", "ghl_id"],
                condition=~models.Q(ghl_id=""),
                name="imported_lead_ghl_id",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.handle}: {self.fate}"


class ImportMapping(TenantOwned):
    """How a file with these columns was imported last: offered again for the next one."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="import_mappings", db_index=False
    )
    columns = models.CharField(max_length=64)  # staging.key_of(headers)
    mapping = models.JSONField(default=dict)  # folded header → field; left-out columns are missing
    policy = models.CharField(
        max_length=10, choices=LeadImport.Policy.choices, default=LeadImport.Policy.OVERWRITE
    )
    policies = models.JSONField(default=dict, db_default=NO_ENTRIES)  # as LeadImport.policies
    saved_at = models.DateTimeField()

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "columns"], name="import_mapping_once"),
        ]

    def __str__(self) -> str:
        return self.columns[:8]
