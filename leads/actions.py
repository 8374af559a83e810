"""What is done to leads: imported, scored, suppressed. Every function runs in its tenant's scope.

Whoever writes leads or scores holds the tenant's `Icp` row until the transaction ends: see
`rescoring.lock_icp`. A transaction that has changed leads must not come here afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from pathlib import PurePath
from typing import Any, BinaryIO, cast

from django.core.files import File
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from agenticos import queue, scope
from agenticos.errors import Refused
from leads import drafts, importing, intake, rescoring, scoring, suppression, upserting
from leads.identities import normalise_handle
from leads.models import Icp, IcpVersion, Lead, LeadImport, Suppression
from tenants import audit
from tenants.models import Tenant, User

# --- The ICP and its versions -------------------------------------------------------------------


def ensure_icp(tenant: Tenant, *, by: User | None = None, now: datetime) -> IcpVersion:
    """The version in force; a tenant without any gets the default configuration."""
    icp = Icp.objects.select_related("live").first()
    if icp is not None:
        return icp.live
    with transaction.atomic():
        rescoring.lock_publishing(tenant.pk)
        icp = Icp.objects.select_related("live").first()
        version = icp.live if icp else IcpVersion.objects.filter(state="scoring").first()
        return version or publish_icp(tenant, scoring.DEFAULT, by=by, now=now)


@transaction.atomic
def publish_icp(
    tenant: Tenant,
    config: scoring.IcpConfig | Mapping[str, Any],
    *,
    note: str = "",
    by: User | None,
    now: datetime,
) -> IcpVersion:
    """Make the next version; it is in force once every lead has its score under it.

    With no leads that is at once; else its state is `scoring`, and the workers do the rest while
    the old scores serve. Raises Refused for a bad configuration, and while another is scoring.
    """
    if not isinstance(config, scoring.IcpConfig):
        try:
            config = scoring.IcpConfig.from_json(config)
        except scoring.BadConfig as error:
            raise Refused(
                _("The ICP has a mistake in “%(path)s”: expected is %(expected)s.")
                % {"path": error.path or "(top)", "expected": error.expected},
                code="bad_icp",
            ) from error
    rescoring.lock_publishing(tenant.pk)
    icp = rescoring.lock_icp()
    if IcpVersion.objects.filter(state=IcpVersion.State.SCORING).exists():
        raise Refused(
            _("The leads are being scored under another version. Wait until that is done."),
            code="icp_scoring",
        )
    newest = IcpVersion.objects.order_by("-number").values_list("number", flat=True).first()
    version = IcpVersion.objects.create(
        tenant=tenant,
        number=(newest or 0) + 1,
        config=config.to_json(),
        note=note[:200],
        author=by,
        state=IcpVersion.State.SCORING,
    )
    audit.record(version, "icp.published", by=by, number=version.number)
    if Lead.objects.exists():
        _ring("leads.tasks.rescore_slice")
    else:
        rescoring.put_in_force(icp, version, now)
    return version


def score_leads(lead_ids: Iterable[int]) -> None:
    """Score these leads under the version in force and under one that is being scored."""
    ids = iter(lead_ids)
    while part := list(islice(ids, rescoring.CHUNK)):
        with transaction.atomic():
            engines = rescoring.engines_in_use(rescoring.lock_icp())
            rescoring.write_scores(drafts.stored(Lead.objects.filter(pk__in=part)), engines)


# --- Imports ------------------------------------------------------------------------------------


def start_import(
    tenant: Tenant,
    file: File[bytes] | BinaryIO,
    file_name: str | None,
    *,
    list_name: str = "",
    mapping: Mapping[int, str] | None = None,
    policy: str = LeadImport.Policy.OVERWRITE,
    policies: Mapping[str, str] | None = None,
    by: User | None,
    now: datetime,
) -> LeadImport:
    """Store a CSV file and have the workers import it, without a rehearsal (`staging` has one).

    `mapping` goes from column number (0 is the first) to field; without it columns are guessed.
    `policies` goes from field to policy where it is not `policy`. The leads of the file get the
    tag `list_name`. Raises Refused when it is no CSV file, is over 64 MB, or has no column of
    handles.
    """
    policies = intake.clean_policies(policies or {}, policy)
    list_name = intake.clean_list_name(list_name)
    stream = cast(BinaryIO, file)
    found = intake.inspect(stream, mapping)
    size = stream.seek(0, 2)
    stream.seek(0)
    row = LeadImport(
        tenant=tenant,
        file_name=PurePath(file_name or "leads.csv").name[:200],
        list_name=list_name,
        dialect=found.dialect.to_json(),
        headers=found.headers,
        mapping={str(index): target for index, target in found.mapping.items()},
        policy=policy,
        policies=policies,
        size=size,
        started_by=by,
        due_at=now,
        committed_at=now,
    )
    with intake.storing(row, file):
        ensure_icp(tenant, by=by, now=now)
        row.save()
        audit.record(row, "import.started", by=by, bytes=size, columns=len(found.mapping))
        _ring("leads.tasks.import_slice")
    return row


def ensure_leads(
    tenant: Tenant, handles: Iterable[str], *, source: str, now: datetime | None = None
) -> dict[str, int]:
    """Lead ids by normalised handle; who is not known yet becomes a lead, scored and checked.

    What is not a handle is left out. Raises Refused when the plan has no room for them all.
    """
    wanted = list(dict.fromkeys(filter(None, map(normalise_handle, handles))))
    now = now or timezone.now()
    found: dict[str, int] = {}
    for start in range(0, len(wanted), rescoring.CHUNK):
        part = wanted[start : start + rescoring.CHUNK]
        known = dict(Lead.objects.filter(handle__in=part).values_list("handle", "id"))
        if len(known) < len(part):
            ensure_icp(tenant, now=now)
            with transaction.atomic():
                engines = rescoring.engines_in_use(rescoring.lock_icp())
                planner = upserting.Planner()
                rows = [importing.Row(0, {"handle": handle}, (), []) for handle in part]
                upserting.demand(planner.read(rows))
                upserting.write_leads(planner.to_write(), engines, source=source[:80], now=now)
            known = {draft.handle: draft.id for draft in planner.drafts.values()}
        found |= known
    return found


# --- Suppression --------------------------------------------------------------------------------


@transaction.atomic
def suppress(
    tenant: Tenant,
    *,
    handle: str = "",
    email: str = "",
    phone: str = "",
    reason: str,
    by: User | None,
    now: datetime,
) -> int:
    """Never write to these identities again; return how many leads that newly stops.

    Kept as keyed hashes, so that they hold for leads that come later and after an erasure. Come
    here before the transaction changes leads (see the top of this module). Raises Refused when
    none is given, or one is not what it should be.
    """
    identities = suppression.identities_of(handle, email, phone)
    digest = suppression.digest_for(tenant.pk)
    ensure_icp(tenant, now=now)
    rescoring.lock_icp()
    Suppression.objects.bulk_create(
        [
            Suppression(tenant=tenant, kind=kind, digest=digest(kind, value), reason=reason[:40])
            for kind, value in identities.items()
        ],
        ignore_conflicts=True,
    )
    anyone = Q()
    for kind, value in identities.items():
        anyone |= Q((kind, value))
    stopped = Lead.objects.filter(anyone, suppressed_at=None).update(suppressed_at=now)
    audit.record(
        tenant,
        "lead.suppressed",
        by=by,
        kinds=sorted(identities),
        leads=stopped,
        reason=reason[:40],
    )
    return stopped


def _ring(task: str) -> None:
    """Ring for a task that looks for due work across tenants itself."""
    with scope.as_nobody():
        queue.enqueue(task)
