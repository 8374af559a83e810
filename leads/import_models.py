"""Models of imports: a file on its way in, its problems, and the log that undoes it.

`leads.models` imports them, so the app knows them; they name leads by text, so the order of the
two modules does not matter.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from agenticos.leasing import Leased
from agenticos.states import Stateful
from leads.importing.sentences import sentence_for
from tenants.models import Tenant, User
from tenants.owned import TenantOwned

# A column that is added while the code before it still writes: it knows no value for it.
NO_ENTRIES = models.Value({}, models.JSONField())


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
        Tenant,
        on_delete=models.CASCADE,
        related_name="imported_leads",
        db_index=False,
        db_constraint=False,  # see LeadScore
    )
    lead_import = models.ForeignKey(
        LeadImport, on_delete=models.CASCADE, related_name="leads", db_index=False
    )
    # None while a new lead is only rehearsed. An erased lead takes its values along.
    lead = models.ForeignKey(
        "leads.Lead", on_delete=models.CASCADE, null=True, related_name="imported"
    )
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
