"""Leads one by one and by the thousand, without a file: what a program sends is upserted here.

The same reading, planning and writing as an import's, under the same lock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from agenticos.locking import locked
from leads import actions, bulk, drafts, importing, intake, rescoring, suppression, upserting
from leads.models import Lead, LeadTag
from tenants import audit
from tenants.models import Membership, Tenant, User


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
        draft = planner.drafts.get(handle)  # none of a row for which the plan has no room
        lead_id = draft.id if draft else None
        outcomes.append(Outcome(fate, handle, lead_id, said.get(place, [])))
    return outcomes


@transaction.atomic
def add_lead(
    tenant: Tenant,
    values: Mapping[str, Any],
    *,
    source: str = "api",
    by: User | None,
    now: datetime,
) -> Lead:
    """Add one lead, scored and checked; `values` are clean. Raises Refused if it is there."""
    actions.ensure_icp(tenant, by=by, now=now)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    known = {name: value for name, value in values.items() if value not in (None, "")}
    if Lead.objects.filter(handle=known["handle"]).exists():
        raise Refused(_("There is a lead with this handle already."), code="lead_exists")
    _check_contact(known.get("ghl_id", ""), 0)
    planner = upserting.Planner()
    upserting.demand(planner.read([importing.Row(0, known, (), [])]))
    upserting.write_leads(planner.to_write(), engines, source=source, now=now)
    lead = Lead.objects.get(handle=known["handle"])
    audit.record(lead, "lead.created", by=by)
    return lead


@transaction.atomic
def edit_lead(
    lead: Lead,
    values: Mapping[str, Any],
    *,
    seen: str = "",
    by: User | None,
    now: datetime,
) -> Lead:
    """Change what `values` name (None and "": not known any more); score and check it again.

    `seen` is `version_of` the lead that a person looked at while editing; Refused when it has
    changed since, and when it is gone.
    """
    actions.ensure_icp(lead.tenant, by=by, now=now)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    # The profile's lock, under which leads are written, does not keep one from being deleted.
    row = locked(Lead.objects.select_for_update(of=("self",)), lead.pk)
    _check_living(row)
    if seen and version_of(row) != seen:
        raise Refused(
            _("Somebody or an import changed this lead meanwhile. Look at it again, then edit."),
            code="changed",
        )
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


def _check_living(lead: Lead) -> None:
    """Nothing comes back to what is left of an erased person. Have the tenant's turn."""
    if Lead.objects.filter(pk=lead.pk, handle__startswith=Lead.ERASED).exists():
        raise Refused(_("This person was erased. Nothing is known of them."), code="erased")


def version_of(lead: Lead) -> str:
    """What tells one state of a lead from the next."""
    return lead.updated_at.isoformat()


@transaction.atomic
def set_tags(lead: Lead, names: Collection[str], *, by: User | None) -> None:
    """Give a lead these tags and no others. Raises Refused when they are too many or too long."""
    wanted = {" ".join(name.split()) for name in names} - {""}
    if len(wanted) > bulk.TAGS_OF_LEAD:
        raise Refused(
            _("A lead has at most %(limit)s tags.") % {"limit": bulk.TAGS_OF_LEAD},
            code="too_many_tags",
        )
    if any(len(name) > bulk.TAG_MAX for name in wanted):
        raise Refused(
            _("The tag is longer than %(limit)s characters.") % {"limit": bulk.TAG_MAX},
            code="tag_too_long",
        )
    has = set(lead.tags.values_list("name", flat=True))
    if has == wanted:
        return
    lead.tags.exclude(name__in=wanted).delete()
    LeadTag.objects.bulk_create(
        [LeadTag(lead=lead, name=name) for name in sorted(wanted - has)], ignore_conflicts=True
    )
    audit.record(lead, "lead.tagged", by=by, added=len(wanted - has), removed=len(has - wanted))


@transaction.atomic
def assign_lead(lead: Lead, owner: Membership | None, *, by: User | None, now: datetime) -> bool:
    """Make a member of the team (None: nobody) the lead's owner; whether that is a change."""
    actions.ensure_icp(lead.tenant, by=by, now=now)
    rescoring.lock_icp()
    changed = bool(bulk.assign_leads([lead.pk], owner.pk if owner else None, now))
    if changed:
        audit.record(lead, "lead.assigned", by=by, member=owner.pk if owner else None)
    return changed


@transaction.atomic
def stop_lead(lead: Lead, *, reason: str, by: User | None, now: datetime) -> int:
    """Never write to this person again, under any known identity; return how many leads stop.

    Raises Refused when `reason` is none of `bulk.STOP_REASONS`, or the lead is stopped already.
    """
    if reason not in bulk.STOP_REASONS:
        raise Refused(_("Choose a reason."), code="no_reason")
    if lead.suppressed_at:
        raise Refused(_("This person is not to be contacted already."), code="is_suppressed")
    stopped = actions.suppress(
        lead.tenant,
        handle=lead.handle,
        email=lead.email,
        phone=lead.phone,
        reason=reason,
        by=by,
        now=now,
    )
    audit.record(lead, "lead.stopped", by=by, reason=reason)
    return stopped


@transaction.atomic
def free_lead(lead: Lead, *, by: User | None, now: datetime) -> int:
    """Let a person be written to again; return how many leads that frees.

    Raises Refused when nothing holds the lead back.
    """
    actions.ensure_icp(lead.tenant, by=by, now=now)
    rescoring.lock_icp()
    _check_living(lead)
    if not Lead.objects.filter(pk=lead.pk, suppressed_at__isnull=False).exists():
        raise Refused(_("This person may be written to already."), code="not_suppressed")
    freed = suppression.lift(lead)
    audit.record(lead, "lead.freed", by=by, leads=freed)
    return freed
