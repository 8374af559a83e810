"""Undoing an import: what it made goes, what it changed goes back, unless it was touched since.

Worked in chunks through `ImportedLead`, from the end to the beginning, with the checkpoint in the
transaction of its chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos import leasing, queue, scope
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE, LeaseLost
from leads.drafts import Draft, stored
from leads.importlog import decoded
from leads.models import ImportedLead, Lead, LeadImport, LeadTag
from leads.rescoring import engines_in_use, lock_icp
from leads.upserting import write_leads
from tenants import audit, retention
from tenants.models import User

CHUNK: Final = 500  # leads per transaction
DAYS: Final = 30

# Why a lead was left as it is.
TOUCHED, IN_USE, OTHER_FILE, GHL_TAKEN = "touched", "in_use", "other_file", "ghl_id_taken"


def until(row: LeadImport) -> datetime | None:
    """When an import can be undone no longer; None when there is nothing to undo."""
    ended = row.state in (LeadImport.State.DONE, LeadImport.State.FAILED)
    if not ended or row.committed_at is None or row.finished_at is None:
        return None
    return row.finished_at + _kept(row)


def _kept(row: LeadImport) -> timedelta:
    """How long the rows are there that an undo goes by."""
    return min(timedelta(days=DAYS), retention.periods(row.tenant)["keep_payload_days"])


@transaction.atomic
def start_undo(row: LeadImport, *, by: User | None, now: datetime) -> None:
    """Have the workers undo an import. Raises Refused when it is too late, or not done."""
    last = until(row)
    if last is None:
        raise Refused(_("There is nothing to undo in this import."), code="nothing_to_undo")
    if now > last:
        raise Refused(
            _("An import can be undone for %(days)s days. This one is older.")
            % {"days": _kept(row).days},
            code="undo_too_late",
        )
    noted = ImportedLead.objects.filter(lead_import=row)
    newest = noted.order_by("-pk").values_list("pk", flat=True).first()
    progress = {
        **{"total": noted.count(), "seen": 0, "removed": 0, "restored": 0, "kept": 0},
        "cursor": (newest or 0) + 1,
    }
    row.move_to(
        LeadImport.State.UNDOING,
        undo=progress,
        error_code="",
        error_params={},
        attempts=0,
        due_at=now,
    )
    audit.record(row, "import.undo_started", by=by, leads=progress["total"])
    with scope.as_nobody():
        queue.enqueue("leads.tasks.import_slice")


def undo_chunk(lead_import: LeadImport, *, token: str, now: datetime) -> bool:
    """Undo what was done to the next leads; True when there is nothing left to do.

    One transaction with its checkpoint and a limited number of statements. Raises LeaseLost.
    """
    with transaction.atomic():
        engines = engines_in_use(lock_icp())
        held = LeadImport.objects.select_for_update().filter(pk=lead_import.pk, claim_token=token)
        row = held.first()
        if row is None:
            raise LeaseLost
        if row.state != LeadImport.State.UNDOING:
            return True
        # From the end: who took a GHL id from another gives it back first.
        noted = ImportedLead.objects.filter(lead_import=row, pk__lt=row.undo["cursor"])
        entries = list(noted.order_by("-pk")[:CHUNK])
        undo = _Chunk(row, entries)
        undo.untag()
        undo.remove()
        write_leads(undo.restored(), engines, source="import", now=now)
        undo.mark()
        progress = row.undo
        for name, number in undo.counts().items():
            progress[name] += number
        if entries:
            progress["cursor"] = entries[-1].pk
        row.attempts, row.lease_until = 0, now + leasing.length()
        row.save(update_fields=["undo", "attempts", "lease_until"])
        if len(entries) < CHUNK:
            row.move_to(LeadImport.State.UNDONE, **NO_LEASE)
            counts = {name: progress[name] for name in ("removed", "restored", "kept")}
            audit.record(row, "import.undone", by=None, **counts)
    lead_import.undo, lead_import.state = row.undo, row.state
    return row.state != LeadImport.State.UNDOING


class _Chunk:
    """Some leads of an import, and what is to become of them."""

    def __init__(self, row: LeadImport, entries: Sequence[ImportedLead]) -> None:
        self._row = row
        self._entries = entries
        self._kept: dict[str, list[int]] = {}
        self._removed = 0
        self._restored: list[Draft] = []
        ids = [entry.lead_id for entry in entries]
        # Held, so that no room above can add a row to a lead between the look and the removal.
        leads = Lead.objects.select_for_update(of=("self",)).filter(pk__in=ids)
        columns = ("id", "updated_at", "suppressed_at", "first_touch_at")
        # In the order in which those who send lock them.
        self._leads = {found[0]: found for found in leads.order_by("pk").values_list(*columns)}

    def untag(self) -> None:
        """Take the leads off the list that this import put them on."""
        tagged = [entry.lead_id for entry in self._entries if entry.tagged]
        if tagged:
            LeadTag.objects.filter(name=self._row.list_name, lead_id__in=tagged).delete()

    def remove(self) -> None:
        """Remove the leads that the import made and nobody has touched since."""
        made = [one for one in self._entries if one.fate == ImportedLead.Fate.CREATED]
        made = [one for one in made if one.lead_id in self._leads]
        if not made:
            return
        ids = [one.lead_id for one in made]
        in_use = _used_elsewhere(ids)
        others = ImportedLead.objects.filter(lead_id__in=ids).exclude(lead_import=self._row)
        in_others = set(others.values_list("lead_id", flat=True))
        tagged = set(LeadTag.objects.filter(lead_id__in=ids).values_list("lead_id", flat=True))
        gone = []
        for one in made:
            _id, updated_at, suppressed_at, first_touch_at = self._leads[one.lead_id]
            if one.lead_id in in_use or first_touch_at is not None:
                self._keep(one, IN_USE)
            elif one.lead_id in in_others:
                self._keep(one, OTHER_FILE)
            elif one.lead_id in tagged or max(updated_at, suppressed_at or one.at) > one.at:
                self._keep(one, TOUCHED)
            else:
                gone.append(one.lead_id)
        Lead.objects.filter(pk__in=gone).delete()
        self._removed = len(gone)

    def restored(self) -> list[Draft]:
        """The changed leads with their earlier values, where the import's still stand."""
        changed = {
            one.lead_id: one for one in self._entries if one.fate == ImportedLead.Fate.UPDATED
        }
        if not changed:
            return []
        drafts = stored(Lead.objects.filter(pk__in=changed))
        ghl_ids = {one.before["ghl_id"] for one in changed.values() if one.before.get("ghl_id")}
        owners = dict(Lead.objects.filter(ghl_id__in=ghl_ids).values_list("ghl_id", "id"))
        freed = {draft.ghl_id for draft in drafts if draft.ghl_id and self._lets_go(draft, changed)}
        for draft in drafts:
            entry = changed[draft.id]
            before, after = decoded(entry.before), decoded(entry.after)
            wanted = {}
            for name, value in before.items():
                if draft.values[name] == value:
                    continue
                if draft.values[name] != after.get(name):
                    self._keep(entry, TOUCHED)
                elif (
                    name == "ghl_id"
                    and owners.get(value, draft.id) != draft.id
                    and (value not in freed)
                ):
                    self._keep(entry, GHL_TAKEN)
                else:
                    wanted[name] = value
            if wanted:
                draft.values.update(wanted)
                self._restored.append(draft)
        return self._restored

    def mark(self) -> None:
        """Note which leads were left alone, and why."""
        for reason, ids in self._kept.items():
            ImportedLead.objects.filter(pk__in=ids).update(kept=reason)

    def counts(self) -> dict[str, int]:
        kept = {pk for ids in self._kept.values() for pk in ids}
        return {
            "seen": len(self._entries),
            "removed": self._removed,
            "restored": len(self._restored),
            "kept": len(kept),
        }

    def _keep(self, entry: ImportedLead, reason: str) -> None:
        ids = self._kept.setdefault(reason, [])
        if entry.pk not in ids:
            ids.append(entry.pk)

    @staticmethod
    def _lets_go(draft: Draft, changed: dict[int | None, ImportedLead]) -> bool:
        """Whether the lead gives back a GHL id that the import had given it."""
        entry = changed[draft.id]
        return entry.before.get("ghl_id") is not None and entry.after.get("ghl_id") == draft.ghl_id


# What comes and goes with a lead.
_ITS_OWN: Final = {"scores", "facts", "tags", "imported"}


def _used_elsewhere(ids: Sequence[int | None]) -> set[int]:
    """The leads that other rows point to: messages above all."""
    used: set[int] = set()
    for relation in Lead._meta.related_objects:
        if relation.get_accessor_name() not in _ITS_OWN:
            model: Any = relation.related_model
            name = relation.field.attname
            rows = model._default_manager.filter(**{f"{name}__in": ids})
            used.update(rows.values_list(name, flat=True).distinct())
    return used
