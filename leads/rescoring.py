"""Scores under ICP versions: a new version is scored beside the old one, then switched at once."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import models, transaction
from django.db.models import Q

from agenticos import leasing, scope
from agenticos.leasing import LeaseLost
from agenticos.sql import analyse, check_references_now, insert_many, one_trip
from leads import scoring
from leads.drafts import Draft, stored
from leads.models import Band, Icp, IcpVersion, Lead, LeadFacts, LeadScore
from leads.scoring.facts import Facts, facts_of
from tenants import audit
from tenants.models import Tenant

CHUNK: Final = 4_000  # leads per transaction
PART: Final = 250  # leads per statement: while the database writes some, the next are scored
GREAT: Final = 1_000  # leads; the scores of fewer change no plan
PRUNE: Final = 5_000  # old scores removed per transaction


def lease(version: IcpVersion, *, token: str, now: datetime) -> bool:
    """Take a version on for a while; False when another worker was first."""
    return leasing.take(version, token=token, now=now, state=version.state)


def rescore_chunk(version: IcpVersion, *, token: str, now: datetime) -> bool:
    """Score the next leads under a new version; True when it is in force.

    One transaction with its checkpoint. What an import adds or changes meanwhile is scored under
    both versions by the import, whatever its id. Raises LeaseLost.
    """
    with transaction.atomic():
        icp = lock_icp()
        row = IcpVersion.objects.filter(pk=version.pk, claim_token=token).first()
        if row is None:
            raise LeaseLost
        if row.state != IcpVersion.State.SCORING:
            return True
        leads = stored(Lead.objects.filter(pk__gt=row.scored_up_to).order_by("pk")[:CHUNK])
        if leads:
            check_references_now()
            # They are as they were when they were scored last; so are their facts, if there are.
            last = leads[-1].id
            there = LeadFacts.objects.filter(lead_id__gt=row.scored_up_to, lead_id__lte=last)
            write_scores(leads, [Engine.of(row)], set(there.values_list("lead_id", flat=True)))
            row.scored_up_to = last
        row.scored += len(leads)
        row.lease_until = now + leasing.length()
        row.save(update_fields=["scored_up_to", "scored", "lease_until"])
        complete = len(leads) < CHUNK
        if complete:
            put_in_force(icp, row, now)
    if complete and row.scored >= GREAT:
        analyse(LeadScore)  # it knows of no score under this version, and pages ask for them now
    version.scored_up_to, version.scored, version.state = row.scored_up_to, row.scored, row.state
    return complete


def prune_chunk(version: IcpVersion, *, token: str, now: datetime) -> bool:
    """Remove some scores of a version that nobody looks back to; True when none are left."""
    with transaction.atomic():
        if not prunable().filter(pk=version.pk, claim_token=token).exists():
            raise LeaseLost
        old = LeadScore.objects.filter(version=version)
        ids = list(old.order_by("lead_id").values_list("id", flat=True)[:PRUNE])
        LeadScore.objects.filter(id__in=ids).delete()
        complete = len(ids) < PRUNE
        IcpVersion.objects.filter(pk=version.pk).update(
            lease_until=now + leasing.length(), **({"pruned_at": now} if complete else {})
        )
        return complete


def prunable() -> models.QuerySet[IcpVersion]:
    """Retired versions whose scores may go: all but the last one that was in force."""
    later = IcpVersion.objects.filter(
        tenant_id=models.OuterRef("tenant_id"),
        number__gt=models.OuterRef("number"),
        state=IcpVersion.State.RETIRED,
    )
    return IcpVersion.objects.filter(
        models.Exists(later), state=IcpVersion.State.RETIRED, pruned_at=None
    )


def lock_icp() -> Icp | None:
    """Take the tenant's turn to write leads and scores, until the transaction ends.

    So an import, a re-scoring and a suppression see each other's rows whole: no lead is left
    without a score when the versions switch, and none slips past a suppression of the same moment.
    This lock comes before any lock on leads. Before the first version is in force, the lock of
    those who publish one stands for it.
    """
    icp = Icp.objects.select_for_update().first()
    if icp is None:
        lock_publishing(scope.tenant_id())
        icp = Icp.objects.select_for_update().first()  # it may have come while we waited
    return icp


def lock_publishing(tenant_id: int) -> None:
    """Make publishers wait for each other. Rows that only point to the tenant do not wait."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def put_in_force(icp: Icp | None, version: IcpVersion, now: datetime) -> None:
    """Put `version` in force: three rows, however many leads there are."""
    if icp is None:
        Icp.objects.create(tenant_id=version.tenant_id, live=version)
    else:
        IcpVersion.objects.filter(pk=icp.live_id).update(state=IcpVersion.State.RETIRED)
        icp.live = version
        icp.save(update_fields=["live"])
    version.state, version.published_at = IcpVersion.State.LIVE, now
    version.claim_token, version.lease_owner, version.lease_until = "", "", None
    version.save(
        update_fields=["state", "published_at", "claim_token", "lease_owner", "lease_until"]
    )
    audit.record(version, "icp.live", by=None, number=version.number, scored=version.scored)


# --- Scores -------------------------------------------------------------------------------------

_BANDS: Final = {band: Band[band.name].value for band in scoring.Band}
_SCORE: Final = ("total", "band", "eligible", "reason", "breakdown", "packed")


class Engine(NamedTuple):
    """An ICP version, ready to score."""

    version_id: int
    score: Any  # (profile) -> scoring.Score

    @classmethod
    def of(cls, version: IcpVersion) -> Engine:
        config = scoring.IcpConfig.from_json(version.config)
        return cls(version.pk, scoring.scorer_for(config).score)


def engines_in_use(icp: Icp | None) -> list[Engine]:
    """The versions under which every lead must have a score. Have the lock."""
    wanted = Q(state=IcpVersion.State.SCORING) | Q(pk=icp.live_id if icp else 0)
    return [Engine.of(version) for version in IcpVersion.objects.filter(wanted)]


def write_scores(
    leads: Sequence[Draft], engines: Sequence[Engine], known: Set[int] = frozenset()
) -> None:
    """Score stored leads under these versions, over what they had there. Have the lock.

    What a what-if needs of them is kept as well, but for those `known` by id, whose facts are.
    """
    with one_trip():
        for new in (True, False):
            some = [lead for lead in leads if lead.new is new]
            for start in range(0, len(some), PART):
                _write_part(some[start : start + PART], engines, known, new=new)


def _write_part(
    leads: Sequence[Draft], engines: Sequence[Engine], known: Set[int], *, new: bool
) -> None:
    facts: list[tuple[Any, ...]] = []
    scores: list[tuple[Any, ...]] = []
    for lead in leads:
        profile = lead.profile()
        if lead.id not in known:
            facts.append((lead.id, *facts_of(profile)))
        for version_id, score in engines:
            result = score(profile)
            scores.append(
                (
                    version_id,
                    lead.id,
                    result.total,
                    _BANDS[result.band],
                    result.eligible,
                    result.ineligible_reason,
                    result.breakdown,
                    result.packed,
                )
            )
    insert_many(
        LeadFacts,
        ["lead_id", *Facts._fields],
        facts,
        unique=[] if new else ["tenant_id", "lead_id"],
        update=Facts._fields,
    )
    insert_many(
        LeadScore,
        ["version_id", "lead_id", *_SCORE],
        scores,
        unique=[] if new else ["tenant_id", "version_id", "lead_id"],
        update=_SCORE,
    )
