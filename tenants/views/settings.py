"""The settings of a tenant."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from tenants.http import TenantRequest, requires


@requires("tenant.view")
@require_safe
def tenant_settings(request: TenantRequest) -> HttpResponse:
    return render_page(request, "base.html", {})
