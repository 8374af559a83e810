"""The template library."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from tenants.http import TenantRequest, requires


@requires("campaigns.view")
@require_safe
def template_list(request: TenantRequest) -> HttpResponse:
    return render_page(request, "base.html", {})
