"""What this room keeps for a time: files, rows of imports, and leads that nobody was written to."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from agenticos import leasing
from agenticos.sql import update_many
from integrations.models import ExternalId, SyncItem
from leads import drafts, erasing, rescoring
from leads.models import (
    BulkJob,
    BulkRow,
    ImportedLead,
    ImportProblem,
    Lead,
    LeadFacts,
    LeadImport,
    LeadScore,
    LeadTag,
)
from tenants.models import Tenant
from tenants.retention import Step, periods

State = LeadImport.State
ENDED: Final = (State.DONE, State.FAILED, State.UNDONE)
# Nobody has let them touch a lead. One that is being rehearsed is left to its worker.
ABANDONED: Final = (State.DRAFT, State.READY, State.FAILED)
FILES: Final = 50  # per chunk: a storage may be far away
LEADS: Final = 500


def _old_drafts(tenant: Tenant, now: datetime) -> QuerySet[LeadImport]:
    """Imports that somebody began and nobody committed."""
    rows = LeadImport.objects.filter(leasing.free(now), state__in=ABANDONED, committed_at=None)
    return rows.filter(created_at__lt=now - periods(tenant)["keep_file_days"])


def _files(tenant: Tenant, now: datetime) -> QuerySet[LeadImport]:
    """Imports that are over and still have their file."""
    rows = LeadImport.objects.filter(state__in=ENDED, committed_at__isnull=False).exclude(file="")
    return rows.filter(finished_at__lt=now - periods(tenant)["keep_file_days"])


def _remove_files(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    rows = list(_files(tenant, now).select_for_update(of=("self",)).filter(pk__in=ids))
    # A file that is gone is no error: a sweep that was killed here has removed it.
    for row in rows:
        row.file.storage.delete(row.file.name)
    LeadImport.objects.filter(pk__in=[row.pk for row in rows]).update(file="")
    return {"import_files": len(rows)}


def _exports(tenant: Tenant, now: datetime) -> QuerySet[BulkJob]:
    """Exports whose file goes now: they failed, or the period was made shorter."""
    over = now - periods(tenant)["keep_file_days"]
    rows = BulkJob.objects.filter(kind=BulkJob.Kind.EXPORT, finished_at__lt=over)
    failed = Q(state=BulkJob.State.FAILED, expires_at=None)
    return rows.filter(failed | Q(expires_at__gt=now)).exclude(folder="")


def _end_exports(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    """Let them expire: `leads.bulk` removes their files, and counts them."""
    _exports(tenant, now).filter(pk__in=ids).update(expires_at=now)
    return {}


def _of_old_imports(tenant: Tenant, now: datetime) -> Q:
    over = now - periods(tenant)["keep_payload_days"]
    ended = LeadImport.objects.filter(state__in=ENDED, finished_at__lt=over)
    return Q(lead_import__in=ended) | Q(lead_import__in=_old_drafts(tenant, now))


def _rows(tenant: Tenant, now: datetime) -> QuerySet[ImportedLead]:
    return ImportedLead.objects.filter(_of_old_imports(tenant, now))


def _remove_rows(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    gone, _by = _rows(tenant, now).filter(pk__in=ids).delete()
    return {"import_rows": gone}


def _problems(tenant: Tenant, now: datetime) -> QuerySet[ImportProblem]:
    return ImportProblem.objects.filter(_of_old_imports(tenant, now))


def _remove_problems(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    gone, _by = _problems(tenant, now).filter(pk__in=ids).delete()
    return {"import_rows": gone}


def _remove_drafts(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    rows = list(_old_drafts(tenant, now).select_for_update(of=("self",)).filter(pk__in=ids))
    for row in rows:
        if row.file:
            row.file.storage.delete(row.file.name)
    LeadImport.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return {"import_drafts": len(rows)}


def _leads(tenant: Tenant, now: datetime) -> QuerySet[Lead]:
    """Leads that nothing was ever sent to, and that nobody has touched for long.

    Not those that a campaign or an open job still has.
    """
    over = now - periods(tenant)["keep_lead_days"]
    rows = Lead.objects.filter(updated_at__lt=over, first_touch_at=None)
    rows = rows.exclude(handle__startswith=Lead.ERASED)
    jobs = BulkRow.objects.filter(
        lead=OuterRef("pk"), job__state__in=(BulkJob.State.FREEZING, BulkJob.State.RUNNING)
    )
    rows = rows.exclude(Exists(jobs))
    for room in erasing.modules():
        rows = rows.exclude(room.in_use())
    return rows


def _remove_leads(tenant: Tenant, ids: Sequence[int], now: datetime) -> dict[str, int]:
    """Delete leads; of those that a ledger names without a message having left, keep a skeleton.

    Their suppressions stay in force, and nothing is suppressed that was not: somebody who comes
    again may be written to.
    """
    rooms = erasing.modules()
    for room in rooms:
        room.hold_many(ids)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    list(Lead.objects.select_for_update(of=("self",)).filter(pk__in=ids).order_by("pk"))
    # Nothing can point to them from here on: look again.
    found = dict(_leads(tenant, now).filter(pk__in=ids).values_list("pk", "handle"))
    keys = {f"lead:{pk}": pk for pk in found}
    items = SyncItem.objects.select_for_update(of=("self",)).filter(key__in=keys)
    for item in items:
        if item.state == SyncItem.State.CLAIMED:
            del found[keys.pop(item.key)]
    SyncItem.objects.filter(key__in=keys).delete()
    ExternalId.objects.filter(key__in=keys).delete()
    kept = {pk for room in rooms for pk in room.on_record(list(found))}
    aliases = {pk: (found[pk], f"{Lead.ERASED}{secrets.token_hex(8)}") for pk in sorted(kept)}
    if aliases:
        for room in rooms:
            room.forget(aliases)
        _empty(aliases, engines, now)
    gone = [pk for pk in found if pk not in kept]
    Lead.objects.filter(pk__in=gone).delete()
    return {"leads": len(gone), "leads_emptied": len(kept)}


def _empty(
    aliases: dict[int, tuple[str, str]], engines: list[rescoring.Engine], now: datetime
) -> None:
    """Leave skeletons that say nothing of anybody, and that nobody writes to."""
    for model in (LeadTag, LeadScore, LeadFacts, ImportedLead, BulkRow):
        rows: Any = model
        rows.objects.filter(lead__in=aliases).delete()
    update_many(Lead, ["id", "handle"], [(pk, alias) for pk, (_was, alias) in aliases.items()])
    skeletons = Lead.objects.filter(pk__in=aliases)
    skeletons.update(
        **drafts.UNKNOWN,
        instagram_scoped_id="",
        source="",
        owner=None,
        suppressed_at=Coalesce(F("suppressed_at"), now),
        updated_at=now,
    )
    rescoring.write_scores(drafts.stored(skeletons), engines)


_RAW: Final = {"import_rows": _("Rows of imports")}
STEPS: Final = (
    Step("import_files", {"import_files": _("Files of imports")}, _files, _remove_files, FILES),
    Step("exports", {"exports": _("Exports")}, _exports, _end_exports),
    Step("import_rows", _RAW, _rows, _remove_rows),
    Step("import_problems", _RAW, _problems, _remove_problems),
    Step(
        "import_drafts",
        {"import_drafts": _("Imports that nobody finished")},
        _old_drafts,
        _remove_drafts,
        FILES,
    ),
    Step(
        "leads",
        {
            "leads": _("Leads without contact, deleted"),
            "leads_emptied": _("Leads without contact, made anonymous"),
        },
        _leads,
        _remove_leads,
        LEADS,
    ),
)
