"""Models of the lead list: saved views, and what was done to many leads at once.

`leads.models` imports them, so the app knows them; they name leads by text, so the order of the
two modules does not matter.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from agenticos.leasing import Leased
from agenticos.states import Stateful
from tenants.models import Tenant, User
from tenants.owned import TenantOwned


class SavedView(TenantOwned):
    """A filter, a sort and columns under a name: the query of the list's address, kept."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="saved_views", db_index=False
    )
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(_("name"), max_length=60)
    shared = models.BooleanField(_("everybody in the workspace sees it"), default=False)
    pinned = models.BooleanField(_("show it as a tab"), default=True)
    query = models.TextField(blank=True)  # canonical: layout.canonical()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("saved view")
        verbose_name_plural = _("saved views")
        constraints = [
            *TenantOwned.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "owner", "name"], name="saved_view_name"),
        ]

    def __str__(self) -> str:
        return self.name


class BulkJob(Stateful, Leased, TenantOwned):
    """One deed for many leads: first the set is frozen into rows, then worked in chunks.

    Both phases keep their place in `cursor`, in the transaction of the chunk, so a killed worker's
    successor goes on where it was.
    """

    class Kind(models.TextChoices):
        TAG = "tag", _("Add a tag")
        UNTAG = "untag", _("Remove a tag")
        ASSIGN = "assign", _("Set the owner")
        SUPPRESS = "suppress", _("Do not contact")
        RESCORE = "rescore", _("Score again")
        EXPORT = "export", _("Export")

    class State(models.TextChoices):
        FREEZING = "freezing", _("Choosing leads")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    MOVES: ClassVar[dict[str, set[str]]] = {
        State.FREEZING: {State.RUNNING, State.FAILED},
        State.RUNNING: {State.DONE, State.FAILED},
    }

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="bulk_jobs", db_index=False
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.FREEZING)
    # What the deed needs: {"tag": …}, {"owner": …}, {"reason": …} or {"columns": […]}.
    params = models.JSONField(default=dict)
    query = models.TextField(blank=True)  # which leads: the list's address; empty: chosen by hand
    undo_of = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="undone")
    # Leads that came later than the job are none of its business.
    up_to = models.BigIntegerField(default=0)
    cursor = models.BigIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    # An export's file: written in parts, which one download sends one after the other.
    folder = models.CharField(max_length=40, blank=True)
    parts = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    started_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    COUNTS: ClassVar[tuple[str, ...]] = ("done", "unchanged", "refused")

    class Meta(TenantOwned.Meta):
        verbose_name = _("bulk job")
        verbose_name_plural = _("bulk jobs")
        constraints = [
            *TenantOwned.Meta.constraints,
            # A job is undone once.
            models.UniqueConstraint(fields=["tenant", "undo_of"], name="bulk_job_undone_once"),
        ]
        indexes = [
            # The tick: open jobs of all tenants, and exports whose file is to go. Both are few.
            models.Index(
                fields=["due_at"],
                name="bulk_job_open",
                condition=models.Q(state__in=["freezing", "running"]),
            ),
            models.Index(
                fields=["expires_at"],
                name="bulk_job_expires",
                condition=models.Q(expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.pk})"

    def get_absolute_url(self) -> str:
        return reverse("leads:job", args=[self.tenant.slug, self.pk])

    @property
    def is_open(self) -> bool:
        """Whether workers still have something to do."""
        return self.state in (self.State.FREEZING, self.State.RUNNING)

    @property
    def worked(self) -> int:
        """How many rows have an outcome."""
        return self.done + self.unchanged + self.refused

    @property
    def percent(self) -> int:
        """Progress in whole percent of the rows; 0 while they are being chosen."""
        if self.state == self.State.DONE:
            return 100
        return (
            0 if self.state == self.State.FREEZING else int(100 * self.worked / (self.total or 1))
        )

    def has_file(self, now: datetime) -> bool:
        """Whether an export can be downloaded."""
        ready = self.kind == self.Kind.EXPORT and self.state == self.State.DONE
        return bool(ready and self.expires_at and self.expires_at > now)


class BulkRow(TenantOwned):
    """What a job did to one lead; `outcome` is empty until its turn."""

    class Outcome(models.TextChoices):
        WAITING = "", _("Waiting")
        DONE = "done", _("Done")
        UNCHANGED = "unchanged", _("Nothing to do")
        REFUSED = "refused", _("Refused")

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, related_name="bulk_rows", db_index=False
    )
    job = models.ForeignKey(BulkJob, on_delete=models.CASCADE, related_name="rows", db_index=False)
    lead = models.ForeignKey("leads.Lead", on_delete=models.CASCADE, related_name="bulk_rows")
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True, default="")
    reason = models.CharField(max_length=40, blank=True)  # a code of bulk.REASONS

    class Meta(TenantOwned.Meta):
        constraints = [
            *TenantOwned.Meta.constraints,
            # Also the order in which a job is worked.
            models.UniqueConstraint(fields=["tenant", "job", "lead"], name="bulk_row_once"),
        ]
        indexes = [
            # The result page, by outcome; and the rows that an undo takes back.
            models.Index(fields=["tenant", "job", "outcome", "lead"], name="bulk_row_outcome"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.lead_id}: {self.outcome}"
