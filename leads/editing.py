"""Leads one by one and by the thousand, without a file: what a program sends is upserted here.

The same reading, planning and writing as an import's, under the same lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from leads import actions, drafts, importing, intake, rescoring, upserting
from leads.models import Lead
from tenants import audit
from tenants.models import Tenant, User


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row. `problems` are (code, sentence): why not, or what was left out."""

    outcome: str  # created, updated, unchanged, rejected
    handle: str = ""
    lead_id: int | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)


@transaction.atomic
def upsert_leads(
    tenant: Tenant,
    rows: Sequence[object],
    *,
    list_name: str = "",
    by: User | None,
    now: datetime,
) -> list[Outcome]:
    """Create and update leads by handle; return what became of each row, in their order.

    A row changes only what it has a value for. Leads that were taken get the tag `list_name`.
    """
    actions.ensure_icp(tenant, by=by, now=now)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    read = [importing.read_object(place, row) for place, row in enumerate(rows)]
    planner = upserting.Planner()
    fates = planner.read(read)
    upserting.write_leads(planner.to_write(), engines, source="api", now=now)
    if list_name:
        intake.write_tags(list_name, [draft.id for draft in planner.drafts.values()])
    said: dict[int, list[tuple[str, str]]] = {}
    for problem in fates.problems:
        sentence = importing.sentence_for(problem.code, problem.params)
        said.setdefault(problem.line, []).append((problem.code, sentence))
    audit.record(
        tenant,
        "leads.upserted",
        by=by,
        created=fates.created,
        updated=fates.updated,
        unchanged=fates.unchanged,
        rejected=fates.rejected,
    )
    outcomes = []
    for place, (one, fate) in enumerate(zip(read, fates.rows, strict=True)):
        handle = str(one.values["handle"]) if isinstance(one, importing.Row) else ""
        lead_id = planner.drafts[handle].id if handle else None
        outcomes.append(Outcome(fate, handle, lead_id, said.get(place, [])))
    return outcomes


@transaction.atomic
def add_lead(tenant: Tenant, values: Mapping[str, Any], *, by: User | None, now: datetime) -> Lead:
    """Add one lead, scored and checked; `values` are clean. Raises Refused if it is there."""
    actions.ensure_icp(tenant, by=by, now=now)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    known = {name: value for name, value in values.items() if value not in (None, "")}
    if Lead.objects.filter(handle=known["handle"]).exists():
        raise Refused(_("There is a lead with this handle already."), code="lead_exists")
    _check_contact(known.get("ghl_id", ""), 0)
    planner = upserting.Planner()
    planner.read([importing.Row(0, known, (), [])])
    upserting.write_leads(planner.to_write(), engines, source="api", now=now)
    lead = Lead.objects.get(handle=known["handle"])
    audit.record(lead, "lead.created", by=by)
    return lead


@transaction.atomic
def edit_lead(lead: Lead, values: Mapping[str, Any], *, by: User | None, now: datetime) -> Lead:
    """Change what `values` name (None and "": not known any more); score and check it again."""
    actions.ensure_icp(lead.tenant, by=by, now=now)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    (draft,) = drafts.stored(Lead.objects.filter(pk=lead.pk))
    wanted = {
        name: drafts.UNKNOWN[name] if value is None else value for name, value in values.items()
    }
    changed = sorted(name for name, value in wanted.items() if draft.values[name] != value)
    if changed:
        _check_contact(wanted.get("ghl_id", ""), lead.pk)
        draft.values.update(wanted)
        upserting.write_leads([draft], engines, source=lead.source, now=now)
        audit.record(lead, "lead.edited", by=by, fields=changed)
    return Lead.objects.get(pk=lead.pk)


def _check_contact(ghl_id: str, lead_id: int) -> None:
    """Two people in our list cannot be one contact of the CRM."""
    if ghl_id and Lead.objects.filter(ghl_id=ghl_id).exclude(pk=lead_id).exists():
        raise Refused(_("The GoHighLevel id belongs to another lead already."), code="ghl_id_taken")
