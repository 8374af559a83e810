"""One deed for many leads: started here, worked in chunks by the workers, undone if it can be.

A job first freezes its set into rows (`freeze_chunk`), then goes through them (`work_chunk`); each
chunk is one transaction with its checkpoint and a number of statements that does not depend on
its rows, but for scores (`rescoring.PART`).
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.db.models import Count, Max, Q
from django.http import QueryDict
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy

from agenticos import leasing, queue, scope
from agenticos.errors import Refused
from agenticos.leasing import NO_LEASE, LeaseLost
from agenticos.locking import locked
from agenticos.sql import insert_many, update_many
from leads import actions, drafts, exporting, rescoring, suppression
from leads.filters import LeadFilter
from leads.layout import Layout, canonical, matching
from leads.models import BulkJob, BulkRow, Icp, Lead, LeadTag
from tenants import audit, retention
from tenants.models import Membership, Tenant, User

CHUNK: Final = 1_000  # rows worked per transaction
FREEZE: Final = 5_000  # rows chosen per transaction
CHOSEN_MAX: Final = 500  # leads chosen one by one
OPEN_MAX: Final = 5  # jobs of a tenant that run at the same time
MAX_ATTEMPTS: Final = 5
TAG_MAX: Final = 80
TAGS_OF_LEAD: Final = 50  # pages show all tags of a lead
TASK: Final = "leads.tasks.bulk_slice"

Kind, State, Outcome = BulkJob.Kind, BulkJob.State, BulkRow.Outcome
# Whoever writes leads or scores takes the tenant's turn first (rescoring.lock_icp).
_WRITES_LEADS: Final = (Kind.ASSIGN, Kind.SUPPRESS, Kind.RESCORE)
UNDONE_BY: Final = {Kind.TAG: Kind.UNTAG, Kind.UNTAG: Kind.TAG}

# Why a row was left as it was.
REASONS: Final[dict[str, Promise]] = {
    "has_tag": gettext_lazy("It has this tag already."),
    "has_owner": gettext_lazy("It had this owner already."),
    "has_no_tag": gettext_lazy("It does not have this tag."),
    "no_member": gettext_lazy("The person is not in the team any more."),
    "is_suppressed": gettext_lazy("It was not to be contacted already."),
    "too_many_tags": gettext_lazy("It has as many tags as a lead can have."),
}
# Why somebody is not to be contacted; the code is what is kept.
STOP_REASONS: Final[dict[str, Promise]] = {
    "asked": gettext_lazy("They asked us not to write"),
    "customer": gettext_lazy("Already a customer"),
    "competitor": gettext_lazy("A competitor"),
    "wrong_person": gettext_lazy("Not who we look for"),
    "complaint": gettext_lazy("A complaint or a legal matter"),
    "other": gettext_lazy("Another reason"),
}


# --- Starting -----------------------------------------------------------------------------------


@transaction.atomic
def start(
    tenant: Tenant,
    kind: str,
    *,
    params: dict[str, Any],
    query: str = "",
    lead_ids: Collection[int] | None = None,
    by: User | None,
    now: datetime,
) -> BulkJob:
    """Begin a job for the leads of `query` (the list's address), or for those in `lead_ids`.

    Chosen leads are frozen at once; ids that are nobody's here are left out. Raises Refused for
    a filter with something in it that we do not know, for nobody, and when too many jobs run.
    """
    params = _checked(kind, params)
    if BulkJob.objects.filter(state__in=[State.FREEZING, State.RUNNING]).count() >= OPEN_MAX:
        raise Refused(
            _("%(limit)s jobs are running already. Wait until one of them is done.")
            % {"limit": OPEN_MAX},
            code="too_many_jobs",
        )
    if kind in _WRITES_LEADS:
        actions.ensure_icp(tenant, by=by, now=now)
        rescoring.lock_icp()  # before the job's rows point to leads
    job = BulkJob(
        tenant=tenant,
        kind=kind,
        params=params,
        started_by=by,
        created_at=now,
        due_at=now,
        folder=uuid.uuid4().hex if kind == Kind.EXPORT else "",
    )
    if lead_ids is None:
        asked = QueryDict(query)
        found = LeadFilter(asked, tenant=tenant, now=now)
        if found.problems:
            raise Refused(found.problems[0], code="bad_filter")
        job.query = canonical(found, Layout.read(asked))
        job.up_to = Lead.objects.aggregate(last=Max("pk"))["last"] or 0
        job.save()
    else:
        ids = list(Lead.objects.filter(pk__in=lead_ids).order_by("pk").values_list("pk", flat=True))
        if not ids:
            raise Refused(_("Choose at least one lead."), code="nobody_chosen")
        job.state, job.total = State.RUNNING, len(ids)
        job.save()
        _insert(job, ids)
    _begun(job, by)
    return job


@transaction.atomic
def undo(job: BulkJob, *, by: User | None, now: datetime) -> BulkJob:
    """Take a finished tag or untag back where it changed something; return the job that does it.

    Raises Refused for other kinds, while it runs, and the second time.
    """
    row = locked(BulkJob.objects.select_for_update(), job.pk)
    if not can_undo(row):
        raise Refused(_("This cannot be undone, or has been already."), code="cannot_undo")
    back = BulkJob.objects.create(
        tenant_id=row.tenant_id,
        kind=UNDONE_BY[Kind(row.kind)],
        params=row.params,
        undo_of=row,
        started_by=by,
        created_at=now,
        due_at=now,
    )
    _begun(back, by)
    return back


def can_undo(job: BulkJob) -> bool:
    """Whether `undo` would do something."""
    return (
        job.kind in UNDONE_BY
        and not job.is_open
        and job.done > 0
        and job.undo_of_id is None
        and not BulkJob.objects.filter(undo_of=job).exists()
    )


def _begun(job: BulkJob, by: User | None) -> None:
    facts = {"kind": job.kind, "all": job.total == 0, "undo": job.undo_of_id is not None}
    audit.record(
        job, "export.created" if job.kind == Kind.EXPORT else "bulk.started", by=by, **facts
    )
    with scope.as_nobody():
        queue.enqueue(TASK)


def _checked(kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the deed needs, and nothing else. Raises Refused."""
    if kind in (Kind.TAG, Kind.UNTAG):
        tag = " ".join(str(params.get("tag", "")).split())
        if not tag:
            raise Refused(_("Give the tag a name."), code="no_tag")
        if len(tag) > TAG_MAX:
            raise Refused(
                _("The tag is longer than %(limit)s characters.") % {"limit": TAG_MAX},
                code="tag_too_long",
            )
        return {"tag": tag}
    if kind == Kind.ASSIGN:
        return {"owner": _member(params.get("owner"))}
    if kind == Kind.SUPPRESS:
        if params.get("reason") not in STOP_REASONS:
            raise Refused(_("Choose a reason."), code="no_reason")
        return {"reason": params["reason"]}
    if kind == Kind.EXPORT:
        columns = [name for name in params.get("columns", ()) if name in exporting.COLUMNS]
        if not columns:
            raise Refused(_("Choose at least one column."), code="no_columns")
        return {"columns": columns}
    if kind != Kind.RESCORE:
        raise Refused(_("There is no such job."), code="no_such_job")
    return {}


def _member(owner: object) -> int | None:
    """A member's id; None for nobody. Raises Refused for who is no member."""
    if not owner:
        return None
    number = str(owner)
    known = number.isascii() and number.isdigit() and len(number) < 19
    if not known or not Membership.objects.filter(pk=int(number)).exists():
        raise Refused(_("This person is not in the team any more."), code="no_member")
    return int(number)


# --- Working ------------------------------------------------------------------------------------


def do_now(job: BulkJob, *, now: datetime) -> None:
    """Do a small job in the request that started it; what is left is the workers'."""
    token = leasing.new_token()
    if lease(job, token=token, now=now):
        step(job, token=token, now=now)
        job.refresh_from_db()


def lease(job: BulkJob, *, token: str, now: datetime) -> bool:
    """Take a job on for a while; False when another worker was first."""
    return leasing.take(job, token=token, now=now, state=job.state)


def step(job: BulkJob, *, token: str, now: datetime) -> bool:
    """Do the next chunk of whatever the job's state asks for; True when there is nothing left.

    Raises LeaseLost.
    """
    row = BulkJob.objects.filter(pk=job.pk, claim_token=token).first()
    if row is None:
        raise LeaseLost
    if row.state == State.FREEZING:
        _freeze_chunk(row, token, now)
        return False
    if row.state == State.RUNNING:
        return _work_chunk(row, token, now)
    if row.expires_at and row.expires_at <= now:
        _expire(row, token)
    return True


def _freeze_chunk(row: BulkJob, token: str, now: datetime) -> None:
    """Put the next leads on the job's list."""
    with transaction.atomic():
        ids = list(_candidates(row)[:FREEZE])
        _insert(row, ids)
        changes: dict[str, Any] = {"cursor": ids[-1] if ids else row.cursor}
        changes["total"] = row.total + len(ids)
        if len(ids) < FREEZE:
            changes |= {"state": State.RUNNING, "cursor": 0}
        _advance(row, token, now, **changes)


def _candidates(row: BulkJob) -> Any:
    """The ids of leads that come next, in their order."""
    if row.undo_of_id:
        done = BulkRow.objects.filter(job_id=row.undo_of_id, outcome=Outcome.DONE)
        return (
            done.filter(lead_id__gt=row.cursor)
            .order_by("lead_id")
            .values_list("lead_id", flat=True)
        )
    data = QueryDict(row.query)
    # "The last 7 days" are those before the job was started, however long it takes.
    found = LeadFilter(data, tenant=row.tenant, now=row.created_at)
    leads = matching(row.tenant, found, Layout.read(data).sort)
    wanted = leads.filter(pk__gt=row.cursor, pk__lte=row.up_to)
    return wanted.order_by("pk").values_list("pk", flat=True)


def _work_chunk(row: BulkJob, token: str, now: datetime) -> bool:
    """Do the deed for the next rows; True when the job is done."""
    with transaction.atomic():
        if row.kind in _WRITES_LEADS:
            rescoring.lock_icp()  # before any lock on leads
        waiting = row.rows.filter(lead_id__gt=row.cursor).order_by("lead_id")
        rows = list(waiting.values_list("id", "lead_id")[:CHUNK])
        ids = [lead_id for _id, lead_id in rows]
        fates = _DEEDS[row.kind](row, ids, now)
        outcomes = [(pk, *fates.of(lead_id)) for pk, lead_id in rows]
        update_many(BulkRow, ["id", "outcome", "reason"], outcomes, blind=True)
        tally = Counter(str(outcome) for _id, outcome, _reason in outcomes)
        changes: dict[str, Any] = {"cursor": ids[-1] if ids else row.cursor, "parts": row.parts}
        changes |= {name: getattr(row, name) + tally[name] for name in BulkJob.COUNTS}
        complete = len(rows) < CHUNK
        if complete:
            # A lead that was deleted before its turn took its row along: it counts no more.
            worked = sum(changes[name] for name in BulkJob.COUNTS)
            changes |= {"state": State.DONE, "finished_at": now, "total": worked}
            if row.kind == Kind.EXPORT:
                changes["expires_at"] = now + retention.periods(row.tenant)["keep_file_days"]
        _advance(row, token, now, **changes)
        if complete:
            _end(row, token)
    return complete


def _advance(row: BulkJob, token: str, now: datetime, **changes: Any) -> None:
    """Move the checkpoint, unless another worker has done so."""
    held = BulkJob.objects.filter(
        pk=row.pk, claim_token=token, state=row.state, cursor=row.cursor, total=row.total
    )
    if not held.update(attempts=0, lease_until=now + leasing.length(), **changes):
        raise LeaseLost
    for name, value in changes.items():
        setattr(row, name, value)


def _end(row: BulkJob, token: str) -> None:
    BulkJob.objects.filter(pk=row.pk, claim_token=token).update(**NO_LEASE)
    name = "export.done" if row.kind == Kind.EXPORT else "bulk.done"
    counts = {each: getattr(row, each) for each in BulkJob.COUNTS}
    audit.record(row, name, by=row.started_by, kind=row.kind, total=row.total, **counts)


def _expire(row: BulkJob, token: str) -> None:
    """Remove an export's file, and the list of whom it held."""
    exporting.remove_folder(row.folder)
    with transaction.atomic():
        row.rows.all().delete()
        BulkJob.objects.filter(pk=row.pk, claim_token=token).update(
            expires_at=None, parts=[], folder="", **NO_LEASE
        )
        retention.note(row.tenant, exports=1)


@transaction.atomic
def put_off(job: BulkJob, *, token: str, now: datetime) -> None:
    """After an unexpected error: try again later, and give up after the fifth time in a row."""
    row = BulkJob.objects.select_for_update().filter(pk=job.pk, claim_token=token).first()
    if row is None:
        return
    attempts = row.attempts + 1
    later = now + timedelta(seconds=5 * 2**attempts)
    if not row.is_open:
        # What is to be removed is tried again some other time.
        leasing.give_back(row, token=token, expires_at=now + timedelta(hours=1))
    elif attempts >= MAX_ATTEMPTS:
        with translation.override(row.tenant.language):
            error = _("Something unexpected stopped it. What is done so far stays done.")
        row.move_to(State.FAILED, error=error, finished_at=now, attempts=attempts, **NO_LEASE)
        audit.record(row, "bulk.failed", by=None, kind=row.kind, done=row.done)
    else:
        leasing.give_back(row, token=token, due_at=later, attempts=attempts)


# --- The deeds ----------------------------------------------------------------------------------


class Fates(NamedTuple):
    """What a deed did: the leads it changed, why it refused others, why the rest stayed."""

    done: Collection[int]
    otherwise: str = ""
    refused: Mapping[int, str] = {}

    def of(self, lead_id: int) -> tuple[str, str]:
        """Outcome and reason of one lead."""
        if lead_id in self.done:
            return Outcome.DONE, ""
        if lead_id in self.refused:
            return Outcome.REFUSED, self.refused[lead_id]
        return Outcome.UNCHANGED, self.otherwise


def _tag(row: BulkJob, ids: Sequence[int], now: datetime) -> Fates:
    tag = row.params["tag"]
    tags = LeadTag.objects.filter(lead_id__in=ids)
    full = tags.values("lead_id").annotate(n=Count("pk")).filter(n__gte=TAGS_OF_LEAD)
    has = set(tags.filter(name=tag).values_list("lead_id", flat=True))
    refused = {one["lead_id"]: "too_many_tags" for one in full if one["lead_id"] not in has}
    wanted = [pk for pk in ids if pk not in has and pk not in refused]
    written = insert_many(
        LeadTag,
        ["lead_id"],
        [(pk,) for pk in wanted],
        constants={"name": tag},
        unique=["tenant_id", "name", "lead_id"],
        returning=["lead_id"],
    )
    return Fates({pk for (pk,) in written}, "has_tag", refused)


def _untag(row: BulkJob, ids: Sequence[int], now: datetime) -> Fates:
    tagged = LeadTag.objects.filter(name=row.params["tag"], lead_id__in=ids)
    found = dict(tagged.values_list("lead_id", "pk"))
    LeadTag.objects.filter(pk__in=found.values()).delete()
    return Fates(found, "has_no_tag")


def _assign(row: BulkJob, ids: Sequence[int], now: datetime) -> Fates:
    owner = row.params["owner"]
    if owner and not Membership.objects.filter(pk=owner).exists():
        return Fates((), refused=dict.fromkeys(ids, "no_member"))
    return Fates(assign_leads(ids, owner, now), "has_owner")


def assign_leads(ids: Sequence[int], owner: int | None, now: datetime) -> set[int]:
    """Make a member (None: nobody) the owner; return the leads that had another.

    Have the tenant's turn.
    """
    other = ~Q(owner=owner) | Q(owner=None) if owner else Q(owner__isnull=False)
    others = Lead.objects.filter(other, pk__in=ids)
    found = set(others.values_list("pk", flat=True))
    # As with any edit: an undone import keeps what was touched since.
    Lead.objects.filter(pk__in=found).update(owner=owner, updated_at=now)
    return found


def _suppress(row: BulkJob, ids: Sequence[int], now: datetime) -> Fates:
    stopped = suppression.suppress_leads(ids, reason=row.params["reason"], now=now)
    return Fates(stopped, "is_suppressed")


def _rescore(row: BulkJob, ids: Sequence[int], now: datetime) -> Fates:
    engines = rescoring.engines_in_use(Icp.objects.first())
    rescoring.write_scores(drafts.stored(Lead.objects.filter(pk__in=ids)), engines)
    return Fates(ids)


def _export(row: BulkJob, ids: Sequence[int], now: datetime) -> Fates:
    columns = row.params["columns"]
    live = Icp.objects.values_list("live_id", flat=True).first()
    cells = exporting.rows_of(ids, columns, live or 0)
    content = exporting.as_csv(None if row.parts else columns, cells)
    row.parts = [*row.parts, exporting.store_part(row.folder, content)]
    return Fates(ids)


_DEEDS: Final[dict[str, Callable[[BulkJob, Sequence[int], datetime], Fates]]] = {
    Kind.TAG: _tag,
    Kind.UNTAG: _untag,
    Kind.ASSIGN: _assign,
    Kind.SUPPRESS: _suppress,
    Kind.RESCORE: _rescore,
    Kind.EXPORT: _export,
}


def _insert(job: BulkJob, ids: Sequence[int]) -> None:
    insert_many(
        BulkRow,
        ["lead_id"],
        [(pk,) for pk in ids],
        constants={"job_id": job.pk, "outcome": "", "reason": ""},
        unique=["tenant_id", "job_id", "lead_id"],
    )
