"""Milliseconds of one claim among a million due rows of 500 tenants with 2 000 accounts.

A claim is two transactions: accounts are leased, fair over the tenants, then each tenant's rows
are claimed. The value is the 95th percentile of the slower of the two; `cases` has both. The
limit is what the database alone takes for the rows of one account: find them locked, mark them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from agenticos.bench.stage import Stage

TENANTS: Final = 500
ACCOUNTS: Final = 4  # of each tenant
LEAST: Final = 40  # rows for each tenant: every account finds some
BARE: Final = 300
DUE: Final = (
    "SELECT id FROM campaigns_message WHERE tenant_id = %s AND campaign_id = %s "
    "AND state = 'queued' AND due_at <= %s ORDER BY due_at, position LIMIT 8 "
    "FOR UPDATE SKIP LOCKED"
)
MARK: Final = "UPDATE campaigns_message SET updated_at = %s WHERE id = ANY(%s)"


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `claim`."""
    n = n or 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            build(stage, max(n // TENANTS, LEAST))
            limit = _bare(stage)
            cases = _claims()
            value = max(percentile(taken) for taken in cases.values())
            return {
                "name": name,
                "value": round(value, 1),
                "unit": "ms",
                "limit": round(limit, 2),
                "ratio": round(value / limit, 2),
                "cases": {case: round(percentile(taken), 1) for case, taken in cases.items()},
                "claims": len(cases["claim"]),
                "n": n,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def build(stage: Stage, each: int) -> None:
    """500 tenants, each with a running campaign of so many due rows and four accounts."""
    from agenticos.bench import cloning
    from campaigns.models import (
        Campaign,
        CampaignAccount,
        CampaignCounts,
        Message,
        SendingAccount,
        Step,
    )
    from integrations.models import Connection
    from leads.models import Icp, IcpVersion, Lead, LeadFacts, LeadScore
    from tenants.models import Tenant

    stage.build(messages=each, accounts=ACCOUNTS)
    campaign = stage.start(limit=each)
    stage.freeze(campaign, each)
    first = stage.tenant.pk
    Tenant.objects.bulk_create(
        Tenant(pk=first + k, slug=f"t{k}", name=f"Tenant {k}") for k in range(1, TENANTS)
    )
    cloning.clone(
        [
            *(Connection, SendingAccount, IcpVersion, Icp, Lead, LeadFacts, LeadScore),
            *(Campaign, Step, CampaignAccount, CampaignCounts, Message),
        ],
        first,
        TENANTS - 1,
        tenants=True,
        changed={(Connection, "external_id"): "t.external_id || '-' || k.k"},
    )
    stage.settle_down()


def percentile(taken: list[float], share: float = 0.95) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(taken)[max(0, round(share * len(taken)) - 1)]


def _claims() -> dict[str, list[float]]:
    """Lease and claim until every account has its lease; how long each took, in milliseconds."""
    from django.conf import settings

    from agenticos import scope
    from agenticos.clock import database_now
    from agenticos.leasing import new_token
    from campaigns import claiming

    token, now = new_token(), database_now()
    cases: dict[str, list[float]] = {"lease": [], "claim": []}

    def timed(case: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = work()
        cases[case].append(1_000 * (time.perf_counter() - began))
        return answer

    claim = partial(
        claiming.claim, now=now, token=token, owner="bench:1", limit=settings.SEND_BATCH
    )
    while leased := timed(
        "lease", lambda: claiming.lease_accounts(now, token=token, owner="bench:1")
    ):
        for tenant_id, ids in leased.items():
            with scope.as_tenant(tenant_id):
                found = timed("claim", partial(claim, ids))
            if not found.held:
                raise RuntimeError(f"tenant {tenant_id}: nothing was claimed")
    return cases


def _bare(stage: Stage) -> float:
    """The two statements alone, once per campaign, each in a transaction that is undone."""
    from django.db import connection, transaction

    from agenticos import scope
    from agenticos.clock import database_now
    from campaigns.models import Campaign

    now, taken = database_now(), []
    with scope.as_system("the bare claim of a benchmark"):
        campaigns = list(Campaign.objects.order_by("pk").values_list("tenant_id", "pk")[:BARE])
        for tenant_id, campaign_id in campaigns:
            began = time.perf_counter()
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(DUE, [tenant_id, campaign_id, now])
                cursor.execute(MARK, [now, [pk for (pk,) in cursor.fetchall()]])
                transaction.set_rollback(True)
            taken.append(1_000 * (time.perf_counter() - began))
    return percentile(taken)
