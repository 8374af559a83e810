"""`/metrics`: what Prometheus reads. Right whichever of several web processes it asks.

Two kinds of figures. What *is* (work that waits, its age, signs of life) is asked of the rows at
each scrape. What *was* (durations, outcomes) is the sum that `measures` keeps in the database. So
there are no files that a killed process leaves behind, and none to share between hosts.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db.models import Count, Max, Min, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django_q.models import OrmQ
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agenticos import health, measures, meters, queue, scope
from agenticos.clock import OVERDUE, database_now
from agenticos.models import WorkerBeat
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount
from integrations.models import Connection, SyncItem
from leads.models import BulkJob, IcpVersion, LeadImport


@login_not_required
@require_safe
def scrape(request: HttpRequest) -> HttpResponse:
    """The text for Prometheus: 404 while no token is set, 401 without the right one."""
    if not settings.METRICS_TOKEN:
        raise Http404
    kind, _space, given = request.headers.get("Authorization", "").partition(" ")
    # Both are compared whole, so that how long it takes tells nothing.
    right = hmac.compare_digest(given.strip().encode(), settings.METRICS_TOKEN.encode())
    if kind.lower() != "bearer" or not right:
        return HttpResponse(status=401, headers={"WWW-Authenticate": 'Bearer realm="metrics"'})
    measures.flush()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    registry.register(Sums())
    return HttpResponse(
        generate_latest(registry),
        content_type=CONTENT_TYPE_LATEST,
        headers={"Cache-Control": "no-store"},
    )


class Sums(Collector):
    """What all processes have counted, under the names and types that `meters` declares."""

    def collect(self) -> Iterator[Metric]:
        stored = measures.stored()
        for declared in meters.REGISTRY.collect():
            metric = Metric(declared.name, declared.documentation, declared.type)
            endings = ("_bucket", "_sum", "_count") if declared.type == "histogram" else ("_total",)
            names = {declared.name + ending for ending in endings}
            for (name, labels), value in sorted(stored.items(), key=_in_order):
                if name in names:
                    metric.add_sample(name, measures.read_labels(labels), value)
            yield metric


def _in_order(item: tuple[measures.Series, float]) -> tuple[Any, ...]:
    """A histogram's buckets in rising order, series by series."""
    (name, labels), _value = item
    read = measures.read_labels(labels)
    return sorted((k, v) for k, v in read.items() if k != "le"), name, float(read.get("le", 0))


class Rows(Collector):
    """What the rows say at this moment, over all tenants."""

    def collect(self) -> Iterator[Metric]:
        now = database_now()
        with scope.as_system("metrics"):
            metrics = [*_messages(), *_depth(), *_ages(now), *_states(), *_workers(now)]
        yield from metrics


def _gauge(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values:
        metric.add_metric([str(key)], value)
    return metric


def _messages() -> Iterator[Metric]:
    """The ledger, by its own counters.

    They are kept in the transaction that moves a row, so they are exact whatever was killed.
    """
    sums = CampaignCounts.objects.aggregate(**{name: Sum(name) for name in CampaignCounts.BUCKETS})
    yield _gauge(
        "agenticos_messages",
        "Messages of all campaigns, by state.",
        "state",
        [(state, sums[state] or 0) for state in CampaignCounts.BUCKETS],
    )


def _depth() -> Iterator[Metric]:
    """How much waits, by kind of work."""
    running = CampaignCounts.objects.filter(campaign__state=Campaign.State.RUNNING)
    messages = running.aggregate(queued=Sum("queued"), claimed=Sum("claimed"))
    yield _gauge(
        "agenticos_queue_depth",
        "Rows that wait for a worker, by kind of work.",
        "kind",
        [
            ("send", messages["queued"] or 0),
            ("prepare", Campaign.objects.filter(state=Campaign.State.PREPARING).count()),
            ("sync", SyncItem.objects.filter(state=SyncItem.State.WAITING).count()),
            ("import", LeadImport.objects.filter(state__in=IMPORTING).count()),
            ("rescore", IcpVersion.objects.filter(state=IcpVersion.State.SCORING).count()),
            ("bulk", BulkJob.objects.filter(state__in=WORKING).count()),
            ("ring", OrmQ.objects.count()),
        ],
    )
    yield _gauge(
        "agenticos_claimed",
        "Rows that a worker holds, by kind of work.",
        "kind",
        [
            ("send", messages["claimed"] or 0),
            ("sync", SyncItem.objects.filter(state=SyncItem.State.CLAIMED).count()),
        ],
    )


IMPORTING = (
    LeadImport.State.WAITING,
    LeadImport.State.RUNNING,
    LeadImport.State.REHEARSING,
    LeadImport.State.UNDOING,
)
WORKING = (BulkJob.State.FREEZING, BulkJob.State.RUNNING)


def _ages(now: datetime) -> Iterator[Metric]:
    """How late the work is: what each kind says is due, as the tick asks it."""
    late = []
    for task, next_at in queue.wake_ups():
        due = next_at()
        # OVERDUE says "now" without saying since when.
        waits = due is not None and due != OVERDUE
        late.append((queue.kind_of(task), _age(now, due) if waits else 0.0))
    yield _gauge("agenticos_oldest_due_seconds", "Age of the oldest due work.", "kind", late)
    waiting = SyncItem.objects.filter(
        state=SyncItem.State.WAITING, connection__state=Connection.State.ACTIVE
    )
    first = waiting.aggregate(first=Min("due_at"))["first"]
    metric = GaugeMetricFamily(
        "agenticos_sync_age_seconds", "How long the oldest due delivery to a CRM has waited."
    )
    metric.add_metric([], _age(now, first))
    yield metric
    overdue = GaugeMetricFamily(
        "agenticos_stuck_claims", "Messages whose lease is over and that nobody took over yet."
    )
    stuck = Message.objects.filter(state=Message.State.CLAIMED, lease_until__lt=now)
    overdue.add_metric([], stuck.count())
    yield overdue


def _age(now: datetime, then: datetime | None) -> float:
    return max((now - then).total_seconds(), 0.0) if then is not None else 0.0


def _states() -> Iterator[Metric]:
    for name, text, model in (
        ("agenticos_campaigns", "Campaigns, by state.", Campaign),
        ("agenticos_accounts", "Sending accounts, by state.", SendingAccount),
        ("agenticos_connections", "Connections to providers, by state.", Connection),
        ("agenticos_imports", "Imports of leads, by state.", LeadImport),
    ):
        counted = model._default_manager.order_by().values("state").annotate(n=Count("pk"))
        found = dict(counted.values_list("state", "n"))
        states = model.State.values
        yield _gauge(name, text, "state", [(state, found.get(state, 0)) for state in states])
    yield _gauge(
        "agenticos_dead_letters",
        "What was given up and waits for a person, by kind.",
        "kind",
        [("sync", SyncItem.objects.filter(state=SyncItem.State.FAILED).count())],
    )


def _workers(now: datetime) -> Iterator[Metric]:
    beats = WorkerBeat.objects.filter(stopped_at=None)
    seen = beats.aggregate(seen=Max("seen_at"), echoed=Max("echoed_at"))
    age = GaugeMetricFamily(
        "agenticos_worker_heartbeat_age_seconds",
        "How long ago a worker group last showed itself; +Inf when none ever did.",
    )
    age.add_metric([], _age(now, seen["seen"]) if seen["seen"] else float("inf"))
    yield age
    echo = GaugeMetricFamily(
        "agenticos_worker_echo_age_seconds",
        "How long ago a task last came through the whole queue; +Inf when none ever did.",
    )
    echo.add_metric([], _age(now, seen["echoed"]) if seen["echoed"] else float("inf"))
    yield echo
    groups = GaugeMetricFamily("agenticos_worker_groups", "Worker groups that show themselves.")
    groups.add_metric([], beats.filter(seen_at__gt=now - health.BEAT).count())
    yield groups
