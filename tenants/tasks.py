"""What the queue rings for tenants: entries of the audit trail that wait to be sealed.

`settings.WAKE_UPS` names the task and its companion. It may be rung twice or not at all.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db.models import Min

from agenticos import logs, queue, scope
from agenticos.clock import Clock
from agenticos.leasing import stopping
from tenants import sealing
from tenants.models import AuditEntry


def seal_slice() -> None:
    """Seal what waits, a chunk of one tenant after the other, for a slice's budget."""
    clock = Clock()
    with scope.as_system("audit entries that wait to be sealed"):
        waiting = AuditEntry.objects.filter(sealed=False, at__lte=clock.now() - sealing.SETTLED)
        tenants = list(waiting.values("tenant_id").annotate(first=Min("id")).order_by("first"))
    more = False
    for row in tenants:
        if clock.elapsed() >= settings.SLICE_BUDGET_S or stopping():
            more = True
            break
        with scope.as_tenant(row["tenant_id"]):
            done = sealing.seal_chunk(now=clock.now())
        logs.count(done=done)
        more = more or done == sealing.CHUNK
    if more and not stopping():
        queue.enqueue("tenants.tasks.seal_slice")


def next_seal_at() -> datetime | None:
    """When the oldest entry without a seal has settled; None when there is none."""
    with scope.as_system("audit entries that wait to be sealed"):
        first = AuditEntry.objects.filter(sealed=False).aggregate(first=Min("at"))["first"]
    return first + sealing.SETTLED if first else None
