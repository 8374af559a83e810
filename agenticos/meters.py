"""What this process counts and times, as Prometheus metrics. `measures` adds it up for all.

Labels take values out of short lists only, and never a tenant's, a person's or an account's.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there

REGISTRY: Final = CollectorRegistry()
_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40)
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_CALL = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)

SENDS: Final = Counter(
    "agenticos_sends",
    "Outcomes of attempts to send a message, by channel; 'later' comes again.",
    ["channel", "result"],
    registry=REGISTRY,
)
SYNCED: Final = Counter(
    "agenticos_synced", "Outcomes of deliveries to the CRM.", ["result"], registry=REGISTRY
)
SLICE: Final = Histogram(
    "agenticos_slice_seconds",
    "How long a slice of work took, by kind.",
    ["kind"],
    buckets=_LONG,
    registry=REGISTRY,
)
SLICES_BROKEN: Final = Counter(
    "agenticos_slices_broken",
    "Slices that ended with an exception, by kind.",
    ["kind"],
    registry=REGISTRY,
)
CLAIM: Final = Histogram(
    "agenticos_claim_seconds",
    "How long a look for due messages took, accounts and rows together.",
    buckets=_SHORT,
    registry=REGISTRY,
)
PROVIDER: Final = Histogram(
    "agenticos_provider_seconds",
    "How long a call to a provider took, by what came of it; 'rate_limited' is a 429.",
    ["provider", "result"],
    buckets=_CALL,
    registry=REGISTRY,
)
REQUEST: Final = Histogram(
    "agenticos_request_seconds",
    "How long a request took, by kind of page and class of status.",
    ["surface", "status"],
    buckets=_SHORT,
    registry=REGISTRY,
)
LIMITED: Final = Counter(
    "agenticos_limited",
    "Requests that a limiter refused (429), by kind of page.",
    ["surface"],
    registry=REGISTRY,
)
