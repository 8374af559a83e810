"""The ideal customer profile: editor, what-if, versions."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from tenants.http import TenantRequest, requires


@requires("icp.view")
@require_safe
def icp_editor(request: TenantRequest) -> HttpResponse:
    return render_page(request, "base.html", {})
