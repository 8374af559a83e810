"""How long a small tenant waits beside one with a million due rows: the worst of its messages.

One worker process sends for both. The small tenant's messages become due one after the other, and
each is late by the time between its due time and its sending. The limit is the same without the
large neighbour.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from agenticos.bench.stage import Stage

SMALL: Final = 20
EVERY: Final = timedelta(seconds=1)
BUDGET_S: Final = 30.0
ACCOUNTS: Final = 200  # of the large tenant
BUILT: Final = 10_000  # rows that are made one by one; the others are copies


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `fairness`."""
    from integrations.tests.live import LiveSandbox

    n = n or 1_000_000
    with tempfile.TemporaryDirectory() as folder, LiveSandbox() as sandbox:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter(sandbox.url)
            stage.build(messages=SMALL, accounts=1, slug="small")
            small, accounts = stage.tenant, stage.accounts
            small.contact_gap_days = 0  # the same people are written to twice
            small.save(update_fields=["contact_gap_days"])
            alone = _worst(small, _due(stage, SMALL))
            stage.build(messages=min(n, BUILT), accounts=ACCOUNTS, slug="large")
            _grow(stage, n)
            large = stage.tenant
            stage.tenant, stage.accounts = small, accounts
            value = _worst(small, _due(stage, SMALL))
            return {
                "name": name,
                "value": round(value, 2),
                "unit": "s",
                "limit": round(alone, 2),
                "ratio": round(value / alone, 2),
                "neighbour_sent": _sent(large),
                "n": n,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def _due(stage: Stage, count: int) -> Any:
    """A campaign of the small tenant whose rows are still to become due."""
    campaign = stage.start(limit=count)
    stage.freeze(campaign, count)
    return campaign


def _grow(stage: Stage, n: int) -> None:
    """A running campaign of `n` due rows."""
    from agenticos.bench import cloning
    from campaigns.models import Campaign, CampaignCounts, Message
    from leads.models import Lead, LeadFacts, LeadScore

    built = min(n, BUILT)
    campaign = stage.start(limit=built)
    stage.freeze(campaign, built)
    cloning.clone(
        [Lead, LeadFacts, LeadScore, Message],
        stage.tenant.pk,
        n // built - 1,
        tenants=False,
        changed={
            (Lead, "handle"): "t.handle || '-' || k.k",
            (Message, "key"): "md5(t.key || k.k)",
        },
    )
    from agenticos import scope

    with scope.as_tenant(stage.tenant):
        Campaign.objects.filter(pk=campaign.pk).update(limit=n)
        CampaignCounts.objects.filter(campaign=campaign.pk).update(audience=n, queued=n)
    stage.settle_down()


def _worst(tenant: Any, campaign: Any) -> float:
    """Send for a while; by how many seconds the latest of the small tenant's messages was late."""
    from agenticos import scope
    from agenticos.clock import Clock
    from campaigns.models import Message, SendingAccount
    from campaigns.sending import Slice

    clock = Clock()
    begins = clock.now() + EVERY
    with scope.as_tenant(tenant):
        rows = list(Message.objects.filter(campaign=campaign.pk).order_by("position"))
        for place, row in enumerate(rows):
            row.due_at = begins + place * EVERY
        Message.objects.bulk_update(rows, ["due_at"])
        SendingAccount.objects.update(next_at=begins)
    with scope.as_nobody():
        Slice(clock, budget_s=BUDGET_S).run()
    with scope.as_tenant(tenant):
        found = Message.objects.filter(campaign=campaign.pk)
        sent = list(found.order_by("position").values_list("sent_at", flat=True))
    late = []
    for place, at in enumerate(sent):
        if at is None:
            raise RuntimeError("not every message of the small tenant was sent")
        # Settling moves `due_at`, so a row's place says when it was due.
        late.append((at - begins - place * EVERY).total_seconds())
    return max(late)


def _sent(tenant: Any) -> int:
    from agenticos import scope
    from campaigns.models import CampaignCounts

    with scope.as_tenant(tenant):
        return CampaignCounts.objects.get().sent
