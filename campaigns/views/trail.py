"""The audit trail: who did what, with the state of its chain; and as a file."""

from __future__ import annotations

import tempfile
from typing import Final

from django.http import FileResponse, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agenticos import paging
from agenticos.htmx import render_page
from campaigns import trail as trails
from tenants import audit, sealing
from tenants.http import TenantRequest, fresh, requires
from tenants.models import AuditCheck, AuditSeal

MEMORY: Final = 2**20  # bytes of a file that are kept in memory


@requires("audit.view")
@require_safe
def trail(request: TenantRequest) -> HttpResponse:
    """The entries that the address asks for, newest first."""
    asked = trails.Asked.of(request.GET)
    page = paging.page(
        asked.rows(),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    check = AuditCheck.objects.first()
    actions = {code: str(words) for code, words in trails.WORDS.items()}
    if asked.action:
        actions.setdefault(asked.action, asked.action)
    context = {
        "asked": asked,
        "page": page,
        "rows": trails.lines(page.rows, request.tenant),
        "actions": sorted(actions.items(), key=lambda one: one[1].casefold()),
        "types": sorted((trails.type_name(label), label) for label in trails.TYPES),
        "seal": AuditSeal.objects.select_related("entry").order_by("-number").first(),
        "check": check,
        "problem": sealing.PROBLEMS.get(check.problem, check.problem) if check else "",
    }
    return render_page(request, "audit/list.html", context, parts=["trail"])


@requires("audit.view")
@require_POST
@fresh
def trail_export(request: TenantRequest) -> FileResponse:
    """The entries that the address asks for as CSV; that they were exported becomes one, too."""
    file = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115 - the response closes it
    rows = trails.write(trails.Asked.of(request.GET).rows(), file)
    audit.record(request.tenant, "audit.exported", by=request.user, rows=rows)
    file.seek(0)
    name = f"audit-{request.tenant.slug}-{timezone.localdate():%Y-%m-%d}.csv"
    return FileResponse(file, as_attachment=True, filename=name, content_type="text/csv")
