"""What the queue rings in this app: wake up, do a slice of what is due, ring again if need be.

Each task has a companion that says when it next has something to do; `settings.WAKE_UPS` names
the pairs. All may be rung twice or not at all.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Min, Q

from agenticos import logs, queue, scope
from agenticos.clock import OVERDUE, Clock, database_now
from agenticos.leasing import new_token, owner, stopping
from agenticos.models import Chore
from campaigns import audience, health, sending, settling, starting, trials
from campaigns.models import Campaign, Message, TestSend

logger = logging.getLogger(__name__)

SWEEP_EVERY = timedelta(seconds=30)
SWEEP = "campaigns.sweep"
STARTS_AT_ONCE = 100
TESTS_AT_ONCE = 100


def send_slice() -> None:
    """Send what is due for up to a slice's budget, then ring for whoever goes on."""
    name = "campaigns.tasks.send_slice"
    clock = Clock()
    sending.Slice(
        clock,
        budget_s=settings.SLICE_BUDGET_S,
        others_wait=lambda: queue.others_due(name, clock.now()),
    ).run()
    due = next_send_at()
    if due is not None and due <= database_now() + timedelta(seconds=1) and not stopping():
        queue.enqueue(name)


def next_send_at() -> datetime | None:
    """When an account next has something to send."""
    return sending.next_send_at()


def reap() -> None:
    """Take over claims whose lease is over, and sweep up what a lost wake-up left behind."""
    now = database_now()
    while moved := settling.reap(now, limit=500):
        logs.count(moved=moved)
    health.sweep(now)
    Chore.objects.update_or_create(name=SWEEP, defaults={"done_at": now})


def next_reap_at() -> datetime | None:
    """When the next lease ends; while a campaign runs, at the latest a while after the sweep."""
    with scope.as_system("when the next lease ends"):
        ends = Message.objects.filter(state=Message.State.CLAIMED).aggregate(
            first=Min("lease_until")
        )["first"]
        running = Campaign.objects.filter(state=Campaign.State.RUNNING).exists()
    sweep = None
    if running:
        done_at = Chore.objects.filter(name=SWEEP).values_list("done_at", flat=True).first()
        sweep = done_at + SWEEP_EVERY if done_at else OVERDUE
    return min(filter(None, (ends, sweep)), default=None)


def prepare_slice() -> None:
    """Freeze audiences of campaigns that are preparing, chunk by chunk."""
    clock = Clock()
    while clock.elapsed() < settings.SLICE_BUDGET_S and not stopping():
        now = clock.now()
        token = new_token()
        with scope.as_system("campaigns that are preparing"):
            free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
            row = Campaign.objects.filter(free, state=Campaign.State.PREPARING).first()
            if row is None:
                return
            taken = Campaign.objects.filter(free, pk=row.pk, state=Campaign.State.PREPARING).update(
                claim_token=token,
                lease_owner=owner(),
                lease_until=now + timedelta(seconds=settings.LEASE_S),
            )
        if not taken:
            continue
        with scope.as_tenant(row.tenant_id):
            campaign = Campaign.objects.select_related("tenant", "icp_version").get(pk=row.pk)
            logger.info("campaign.prepares", extra={"campaign": row.pk})
            complete = False
            while not complete and clock.elapsed() < settings.SLICE_BUDGET_S and not stopping():
                complete = audience.prepare_chunk(campaign, now=clock.now())
                logs.count(chunks=1)
            Campaign.objects.filter(pk=row.pk, claim_token=token).update(
                claim_token="", lease_until=None, lease_owner=""
            )
            queue.enqueue(
                "campaigns.tasks.send_slice" if complete else "campaigns.tasks.prepare_slice"
            )


def next_prepare_at() -> datetime | None:
    """Now while a campaign is preparing that no worker holds."""
    with scope.as_system("campaigns that are preparing"):
        rows = Campaign.objects.filter(state=Campaign.State.PREPARING)
        if rows.filter(lease_until__isnull=True).exists():
            return OVERDUE
        first: datetime | None = rows.aggregate(first=Min("lease_until"))["first"]
        return first


def start_due() -> None:
    """Start the scheduled campaigns whose time has come."""
    now = database_now()
    with scope.as_system("campaigns whose time has come"):
        due = Campaign.objects.filter(state=Campaign.State.SCHEDULED, starts_at__lte=now)
        rows = list(due.order_by("starts_at")[:STARTS_AT_ONCE])
    for row in rows:
        with scope.as_tenant(row.tenant_id):
            starting.start_at_its_time(row, now=now)


def next_start_at() -> datetime | None:
    """When the next scheduled campaign is to start."""
    with scope.as_system("when the next campaign starts"):
        rows = Campaign.objects.filter(state=Campaign.State.SCHEDULED)
        first: datetime | None = rows.aggregate(first=Min("starts_at"))["first"]
        return first


def send_tests() -> None:
    """Send the test messages that wait, and settle those that a lost worker left behind."""
    clock = Clock()
    with scope.as_system("test messages that wait"):
        waiting = TestSend.objects.filter(state=TestSend.State.CLAIMED).order_by("id")
        rows = list(waiting.values_list("tenant_id", "id")[:TESTS_AT_ONCE])
    for tenant_id, test_id in rows:
        if stopping() or clock.elapsed() > settings.SLICE_BUDGET_S:
            return
        with scope.as_tenant(tenant_id):
            trials.work(test_id, clock)


def next_test_at() -> datetime | None:
    """Now while a test message waits for its call; else when the next claim of one ends."""
    with scope.as_system("when a test message is next due"):
        rows = TestSend.objects.filter(state=TestSend.State.CLAIMED)
        if rows.filter(dispatched_at=None).exists():
            return OVERDUE
        first: datetime | None = rows.aggregate(first=Min("lease_until"))["first"]
        return first
