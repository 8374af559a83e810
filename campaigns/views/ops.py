"""The operations page: is the work being done, what holds it up, what waits for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from agenticos.htmx import render_page
from campaigns import checkups, ops
from campaigns.models import Checkup
from integrations.models import Connection
from tenants.http import TenantRequest, requires
from tenants.models import Tenant

TABS: Final[tuple[tuple[str, Promise], ...]] = (
    ("queue", gettext_lazy("Queue")),
    ("claims", gettext_lazy("Claims")),
    ("letters", gettext_lazy("Dead letters")),
    ("invariants", gettext_lazy("Invariants")),
)


@requires("ops.view")
@require_safe
def ops_page(request: TenantRequest) -> HttpResponse:
    """Figures and the chosen tab; asked again every few seconds while something moves."""
    context = panel(request.tenant, request.GET.get("tab", ""), timezone.now())
    return render_page(request, "ops/page.html", context, parts=["ops"])


@requires("ops.view")
@require_POST
def ops_check(request: TenantRequest) -> HttpResponse:
    """Have a worker check the invariants of this tenant."""
    checkups.ask(request.tenant, timezone.now())
    if request.htmx:
        context = panel(request.tenant, "invariants", timezone.now())
        return render_page(request, "ops/page.html#ops", context)
    messages.success(request, _("A worker checks it within moments."))
    return redirect(f"{_address(request)}?tab=invariants")


def _address(request: TenantRequest) -> str:
    return request.path.removesuffix("check/")


def panel(tenant: Tenant, asked: str, now: datetime) -> dict[str, Any]:
    """What the page shows: the same number of statements however many rows there are."""
    tab = asked if asked in dict(TABS) else "queue"
    workers = ops.workers(now)
    depth = ops.depth(tenant, now)
    minutes = ops.sent_by_minute(now)
    letters = ops.letters(rows=tab == "letters")
    queue = ops.queue(tenant, now)
    claims = ops.claims(tenant, now)
    checkup = Checkup.objects.filter(tenant=tenant).first()
    broken = [one for one in checkup.results if one["violations"] != 0] if checkup else []
    live = Connection.objects.filter(kind=Connection.Kind.GHL, state=Connection.State.ACTIVE)
    checking = checkup is not None and checkup.asked_at is not None
    sync_moves = depth[1].count > 0 and live.exists()
    badges = {
        "queue": sum(row.late for row in queue),
        "claims": sum(row.stuck for row in claims),
        "letters": letters.n_sends + letters.n_syncs,
        "invariants": len(broken),
    }
    return {
        "now": now,
        "tab": tab,
        "tabs": [(name, label, badges[name]) for name, label in TABS],
        "workers": workers,
        "depth": depth,
        "minutes": [
            {"count": count, "height": round(24 * count / (max(minutes) or 1), 1)}
            for count in minutes
        ],
        "rate": minutes[-1],
        "troubles": ops.provider_troubles(tenant, now),
        "lines": ops.line_troubles(tenant, now),
        "crm": ops.crm_troubles(tenant),
        "queue": queue,
        "oldest": next((row for row in queue if row.late), None),
        "claims": claims,
        "letters": letters,
        "checkup": checkup,
        "checking": checking,
        "broken": broken,
        # Nothing that moves: nothing that would look otherwise in five seconds.
        "moving": bool(checking or claims or sync_moves or any(row.late for row in queue))
        or any(one.count for one in depth[2:]),
    }
