"""The settings of a tenant."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agenticos.htmx import render_page
from tenants import actions, retention
from tenants.forms import KeepingForm, TenantForm
from tenants.freshness import ask_again, is_fresh
from tenants.http import TenantRequest, fresh, language_of, requires
from tenants.models import RetentionRun, Tenant
from tenants.roles import can


@requires("tenant.view")
@require_safe
def tenant_settings(request: TenantRequest) -> HttpResponse:
    """Everybody may look; who may not edit sees the values and who may."""
    return _page(request)


def _page(
    request: TenantRequest,
    *,
    form: TenantForm | None = None,
    keeping_form: KeepingForm | None = None,
) -> HttpResponse:
    """The page; with a form that came with a mistake, else as things stand."""
    read_only = not can(request.membership, "tenant.edit")
    is_owner = can(request.membership, "members.manage")
    keeps = can(request.membership, "privacy.manage")
    run = RetentionRun.objects.first()
    words = retention.words()
    context = {
        "form": form or TenantForm(instance=request.tenant, read_only=read_only, is_owner=is_owner),
        "keeping_form": keeping_form or KeepingForm(instance=request.tenant, read_only=not keeps),
        "retention": run,
        "went": [(words.get(kind, kind), n) for kind, n in run.report.items()] if run else [],
    }
    return render_page(request, "tenants/settings.html", context)


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
        return _page(request, form=form)
    if "require_mfa" in form.changed_data and not is_fresh(request):
        return ask_again(request)
    changed = actions.edit_tenant(
        request.tenant, form.cleaned_data, by=request.user, now=timezone.now()
    )
    # In the new language, which may be what has just been chosen.
    with translation.override(language_of(request)):
        messages.success(request, _("Saved.") if changed else _("Nothing was different."))
    return redirect("settings:settings", request.tenant.slug)


@requires("privacy.manage")
@require_POST
@fresh
def tenant_keeping(request: TenantRequest) -> HttpResponse:
    """Save how long things are kept. Nothing goes before the next sweep."""
    row = Tenant.objects.get(pk=request.tenant.pk)
    form = KeepingForm(request.POST, instance=row)
    if not form.is_valid():
        return _page(request, keeping_form=form)
    changed = actions.edit_keeping(
        request.tenant, form.cleaned_data, by=request.user, now=timezone.now()
    )
    said = _("Saved. It holds from the next sweep on.") if changed else _("Nothing was different.")
    messages.success(request, said)
    return redirect("settings:settings", request.tenant.slug)
