"""Downloading an export: through this view alone, never by a public address."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from leads import exporting
from leads.models import BulkJob
from tenants import audit
from tenants.http import TenantRequest, requires


@requires("leads.export")
@require_safe
def export_file(request: TenantRequest, pk: int) -> HttpResponseBase:
    """The file of an export, part after part, as long as it is kept."""
    jobs = request.tenant.bulk_jobs.filter(kind=BulkJob.Kind.EXPORT)
    job = get_object_or_404(jobs.select_related("tenant"), pk=pk)
    if not job.has_file(timezone.now()):
        messages.error(request, _("This file is not there, or not any more. Export again."))
        return redirect(job)
    audit.record(job, "export.downloaded", by=request.user, total=job.total)
    response = StreamingHttpResponse(exporting.read_parts(job.parts), content_type="text/csv")
    name = f"leads-{request.tenant.slug}-{timezone.localtime(job.created_at):%Y-%m-%d-%H%M}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "no-store"
    return response
