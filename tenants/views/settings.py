"""The settings of a tenant."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from agenticos.htmx import render_page
from tenants import actions
from tenants.forms import TenantForm
from tenants.freshness import ask_again, is_fresh
from tenants.http import TenantRequest, language_of, requires
from tenants.models import Tenant
from tenants.roles import can


@requires("tenant.view")
@require_safe
def tenant_settings(request: TenantRequest) -> HttpResponse:
    """Everybody may look; who may not edit sees the values and who may."""
    read_only = not can(request.membership, "tenant.edit")
    is_owner = can(request.membership, "members.manage")
    form = TenantForm(instance=request.tenant, read_only=read_only, is_owner=is_owner)
    return render_page(request, "tenants/settings.html", {"form": form})


@requires("tenant.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def tenant_edit(request: TenantRequest) -> HttpResponse:
    """Save the settings; a form with a mistake comes back with it."""
    if request.method != "POST":
        return redirect("settings:settings", request.tenant.slug)
    # A row of its own: a form writes into its instance even what is refused.
    is_owner = can(request.membership, "members.manage")
    row = Tenant.objects.get(pk=request.tenant.pk)
    form = TenantForm(request.POST, instance=row, is_owner=is_owner)
    if not form.is_valid():
        return render_page(request, "tenants/settings.html", {"form": form})
    if "require_mfa" in form.changed_data and not is_fresh(request):
        return ask_again(request)
    changed = actions.edit_tenant(
        request.tenant, form.cleaned_data, by=request.user, now=timezone.now()
    )
    # In the new language, which may be what has just been chosen.
    with translation.override(language_of(request)):
        messages.success(request, _("Saved.") if changed else _("Nothing was different."))
    return redirect("settings:settings", request.tenant.slug)
