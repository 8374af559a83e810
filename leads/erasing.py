"""Erasing a person: all that says who they are goes, the proof that somebody was written to stays.

The lead stays as a skeleton under an alias that no handle can be. What lies above this room is
done by the modules that the setting PERSONAL_DATA names, in the same transaction; each has `hold`,
`consequences`, `erase` and `export`.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _, gettext_noop, ngettext

from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE
from integrations.models import Connection, ExternalId, SyncItem
from leads import actions, drafts, exporting, rescoring, suppression
from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.models import (
    BulkJob,
    BulkRow,
    ImportedLead,
    ImportProblem,
    Lead,
    LeadFacts,
    LeadImport,
    LeadScore,
    SavedView,
)
from leads.traces import Person, replace_in
from tenants import audit
from tenants.models import IdempotencyRecord, Notification, User

REASON: Final = "erased"
SYNC_SENTENCE: Final = gettext_noop("The person was erased. Erase the contact in the CRM as well.")
_UNDER_WAY: Final = (
    LeadImport.State.REHEARSING,
    LeadImport.State.WAITING,
    LeadImport.State.RUNNING,
    LeadImport.State.UNDOING,
)
# Of these the file is still to be read; in every other state it is only kept.
_OPEN: Final = (*_UNDER_WAY, LeadImport.State.DRAFT, LeadImport.State.READY)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased: counts by kind of row, and where the CRM has a copy of its own."""

    lead_id: int
    suppressed: list[str]  # kinds of identity
    removed: dict[str, int]
    crm_ids: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For the person who asked. Keep no copy: the CRM's ids lead to the erased one."""
        return {**self.harmless(), "crm_ids": self.crm_ids}

    def harmless(self) -> dict[str, Any]:
        """What may be stored."""
        return {
            "lead": self.lead_id,
            "suppressed": self.suppressed,
            "removed": self.removed,
            "crm_contacts": len(self.crm_ids),
        }


def find(text: str) -> list[Lead]:
    """The leads whose handle, e-mail or phone this is; several may share the last two."""
    query = Q(pk=None)
    if handle := normalise_handle(text):
        query |= Q(handle=handle)
    if email := normalise_email(text):
        query |= Q(email=email)
    if phone := normalise_phone(text):
        query |= Q(phone=phone)
    return list(Lead.objects.select_related("tenant").filter(query).order_by("pk"))


def consequences(lead: Lead) -> tuple[str, ...]:
    """What follows from erasing this lead: sentences for who is to decide."""
    points = [_("Profile, contact data, notes of imports, tags and score evidence are removed.")]
    for module in modules():
        points += module.consequences(lead)
    points.append(
        _("Handle, e-mail and phone are kept as keyed hashes, so that nobody writes to them again.")
    )
    if others := _sharing(lead).count():
        points.append(
            ngettext(
                "%(n)s other lead with the same e-mail or phone is not contacted any more.",
                "%(n)s other leads with the same e-mail or phone are not contacted any more.",
                others,
            )
            % {"n": others}
        )
    person = Person.of(lead, "")
    if files := len(_files(person, lead)) + _exports(lead).count():
        points.append(
            ngettext(
                "%(n)s stored file of imports or exports is deleted: it names this person.",
                "%(n)s stored files of imports or exports are deleted: they name this person.",
                files,
            )
            % {"n": files}
        )
    if ids := _crm_ids(lead):
        points.append(
            _("The CRM has a copy of its own (%(ids)s): erase it there.") % {"ids": ", ".join(ids)}
        )
    points.append(_("This cannot be undone."))
    return tuple(points)


@transaction.atomic
def erase_person(lead: Lead, *, by: User | None, now: datetime) -> Receipt:
    """Remove a person's data everywhere and keep the ledger; return what was removed.

    Raises Refused `in_flight` while a message to them, a write to the CRM, an import or an export
    that holds them is under way, and `erased` when it was done before.
    """
    rooms = modules()
    for module in rooms:
        module.hold(lead)
    actions.ensure_icp(lead.tenant, by=by, now=now)
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    row = Lead.objects.select_for_update(of=("self",)).get(pk=lead.pk)
    if row.is_erased:
        raise Refused(_("This person was erased already."), code="erased")
    person = Person.of(row, f"{Lead.ERASED}{secrets.token_hex(8)}")
    _check_nothing_under_way(row, person)
    crm_ids = _crm_ids(row)
    kinds = [kind for kind in suppression.KINDS if getattr(row, kind)]
    suppression.suppress_leads([row.pk], reason=REASON, now=now)
    files = _files(person, row)
    exports = list(_exports(row))
    removed: Counter[str] = Counter()
    for module in rooms:
        removed.update(module.erase(row, person, now))
    removed.update(_erase_crm(row, person))
    removed.update(_erase_notes(row, person))
    removed.update(_empty(row, person, engines, now))
    BulkJob.objects.filter(pk__in=[job.pk for job in exports]).update(
        folder="", parts=[], expires_at=None
    )
    removed["files"] = len(files) + len(exports)
    receipt = Receipt(row.pk, kinds, {k: n for k, n in sorted(removed.items()) if n}, crm_ids)
    audit.record(row, "lead.erased", by=by, **receipt.harmless())
    # Last, and before the commit: what cannot be deleted keeps the erasure from being called done.
    for one in files:
        one.file.delete(save=False)
    for job in exports:
        exporting.remove_folder(job.folder)
    lead.handle = person.alias
    return receipt


def modules() -> list[Any]:
    """What the setting PERSONAL_DATA names."""
    return [import_module(name) for name in settings.PERSONAL_DATA]


def in_flight() -> Refused:
    """The refusal while something that holds the person cannot be held back any more."""
    return Refused(
        _(
            "Something that holds this person is under way: a message, a write to the CRM, an "
            "import or an export. Try again when it is done."
        ),
        code="in_flight",
    )


def _check_nothing_under_way(lead: Lead, person: Person) -> None:
    """Raise Refused while a worker holds their data, or an open import is about to bring it back.

    Has the tenant's turn, so no chunk of an import begins meanwhile.
    """
    items = SyncItem.objects.select_for_update(of=("self",)).filter(key=_key(lead))
    open_jobs = BulkRow.objects.filter(
        lead=lead,
        job__kind=BulkJob.Kind.EXPORT,
        job__state__in=[BulkJob.State.FREEZING, BulkJob.State.RUNNING],
    )
    if any(item.state == SyncItem.State.CLAIMED for item in items) or open_jobs.exists():
        raise in_flight()
    for row in _files(person, lead, states=_OPEN):
        if row.state in _UNDER_WAY:
            raise in_flight()
        raise Refused(
            _(
                "The import of “%(file)s” is not finished and names them. Finish or discard it "
                "first."
            )
            % {"file": row.file_name},
            code="import_open",
        )


def _key(lead: Lead) -> str:
    return f"lead:{lead.pk}"


def _sharing(lead: Lead) -> Any:
    """Other leads that the suppression of this one's identities stops."""
    shared = Q(pk=None)
    if lead.email:
        shared |= Q(email=lead.email)
    if lead.phone:
        shared |= Q(phone=lead.phone)
    return Lead.objects.filter(shared, suppressed_at=None).exclude(pk=lead.pk)


def _files(person: Person, lead: Lead, *, states: tuple[str, ...] = ()) -> list[LeadImport]:
    """Imports whose stored file names the person, or brought them: of these states, or done."""
    noted = ImportedLead.objects.filter(Q(lead=lead) | Q(handle=lead.handle))
    brought = set(noted.values_list("lead_import_id", flat=True))
    rows = LeadImport.objects.exclude(file="")
    rows = rows.filter(state__in=states) if states else rows.exclude(state__in=_OPEN)
    found = []
    for row in rows.order_by("pk"):
        storage = row.file.storage
        if not storage.exists(row.file.name):
            continue
        if row.pk in brought or person.is_in_file(row.file, row.dialect.get("encoding", "")):
            found.append(row)
    return found


def _exports(lead: Lead) -> Any:
    """Exports with a file in which the lead stands."""
    mine = BulkRow.objects.filter(lead=lead).values("job")
    return BulkJob.objects.filter(pk__in=mine, kind=BulkJob.Kind.EXPORT).exclude(folder="")


def _crm_ids(lead: Lead) -> list[str]:
    """What the person is called in CRMs."""
    there = ExternalId.objects.filter(key=_key(lead)).exclude(external_id="")
    return sorted({*there.values_list("external_id", flat=True), lead.ghl_id} - {""})


def _erase_crm(lead: Lead, person: Person) -> dict[str, int]:
    """Empty what was to reach the CRM; the entry stays, as the proof that it was told."""
    items = SyncItem.objects.filter(key=_key(lead)).update(
        wanted={},
        done=None,
        error="",
        discard_reason="",
        state=SyncItem.State.DISCARDED,
        reason=REASON,
        sentence=SYNC_SENTENCE,
        **NO_LEASE,
    )
    ids, _by = ExternalId.objects.filter(key=_key(lead)).delete()
    words = replace_in(Connection.objects.all(), person, ["trouble_detail"], words=True)
    return {"sync_items": items, "external_ids": ids, "provider_words": words}


def _erase_notes(lead: Lead, person: Person) -> dict[str, int]:
    """Notes of imports, jobs, views, news and answers to programs."""
    handle = Q(handle=lead.handle)
    staged, _by = ImportedLead.objects.filter(Q(lead=lead) | handle).delete()
    problems = 0
    for row in person.candidates(ImportProblem.objects.all(), "raw", "params"):
        whole = [row.raw, row.params]
        if person.replaced(whole) != whole:
            problems += ImportProblem.objects.filter(pk=row.pk).update(raw=[], params={})
    answers = 0
    kept = IdempotencyRecord.objects.exclude(status=0)
    for answer in person.candidates(kept, "answer", "path"):
        said = json.loads(answer.answer) if answer.answer else None
        news = {"answer": "" if person.replaced(said) != said else answer.answer}
        news["path"] = person.in_words(answer.path)
        if (answer.answer, answer.path) != (news["answer"], news["path"]):
            answers += IdempotencyRecord.objects.filter(pk=answer.pk).update(**news)
    queries = 0
    for model in (SavedView, BulkJob):
        for found in person.candidates(model.objects.all(), "query"):
            query = person.in_query(found.query)
            if query != found.query:
                queries += model.objects.filter(pk=found.pk).update(query=query)
    jobs = replace_in(BulkJob.objects.all(), person, ["params"])
    jobs += replace_in(BulkJob.objects.all(), person, ["error"], words=True)
    imports = replace_in(LeadImport.objects.all(), person, ["headers", "error_params"])
    for begun in person.candidates(LeadImport.objects.all(), "file_name"):
        stem, dot, ending = begun.file_name.rpartition(".")
        name = f"{person.in_words(stem)}{dot}{ending}"
        if name != begun.file_name:
            imports += LeadImport.objects.filter(pk=begun.pk).update(file_name=name[:200])
    return {
        "import_rows": staged,
        "import_problems": problems,
        "imports": imports,
        "answers": answers,
        "queries": queries,
        "jobs": jobs,
        "notifications": replace_in(Notification.objects.all(), person, ["params"]),
    }


def _empty(
    lead: Lead, person: Person, engines: list[rescoring.Engine], now: datetime
) -> dict[str, int]:
    """Leave a skeleton of the lead, scored as somebody of whom nothing is known."""
    tags, _by = lead.tags.all().delete()
    LeadScore.objects.filter(lead=lead).delete()
    LeadFacts.objects.filter(lead=lead).delete()
    Lead.objects.filter(pk=lead.pk).update(
        handle=person.alias,
        **drafts.UNKNOWN,
        instagram_scoped_id="",
        source="",
        owner=None,
        suppressed_at=lead.suppressed_at or now,
        updated_at=now,
    )
    rescoring.write_scores(drafts.stored(Lead.objects.filter(pk=lead.pk)), engines)
    return {"tags": tags, "profiles": 1}
