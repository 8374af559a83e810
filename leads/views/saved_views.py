"""Saved views: keeping a list under a name, and changing or removing one."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from agenticos.errors import Refused
from agenticos.questions import Question, ask
from leads import viewing
from leads.filters import LeadFilter
from leads.layout import Layout, canonical
from leads.lead_forms import ViewForm
from leads.models import SavedView
from leads.views.shared import dialog, go
from tenants.http import TenantRequest, refusal, requires


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def view_save(request: TenantRequest) -> HttpResponse:
    """Keep what the address shows under a name."""
    given = request.POST if request.method == "POST" else request.GET
    query = _canonical(request, given.get("query", ""))
    form = ViewForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            view = viewing.save_view(
                request.tenant, **form.cleaned_data, query=query, by=request.user
            )
        except Refused as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, _("“%(name)s” is saved.") % {"name": view.name})
            return go(request, _address(request, view))
    return _form(request, form, query, title=_("Save as a view"))


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def view_edit(request: TenantRequest, pk: int) -> HttpResponse:
    """The name of a view, and who sees it where."""
    view = get_object_or_404(viewing.views_for(request.tenant, request.user), pk=pk)
    _check(request, view)
    initial = {"name": view.name, "shared": view.shared, "pinned": view.pinned}
    form = ViewForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            viewing.change_view(view, **form.cleaned_data, by=request.user)
        except Refused as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, _("The view is changed."))
            return go(request, _address(request, view))
    return _form(request, form, view.query, title=_("Change the view"), view=view)


@requires("leads.edit")
@require_POST
def view_update(request: TenantRequest, pk: int) -> HttpResponse:
    """Let the view show what the address shows now."""
    view = get_object_or_404(viewing.views_for(request.tenant, request.user), pk=pk)
    _check(request, view)
    query = _canonical(request, request.POST.get("query", ""))
    viewing.update_view(view, query=query, by=request.user)
    messages.success(request, _("“%(name)s” is saved.") % {"name": view.name})
    return go(request, _address(request, view))


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def view_delete(request: TenantRequest, pk: int) -> HttpResponse:
    view = get_object_or_404(viewing.views_for(request.tenant, request.user), pk=pk)
    _check(request, view)
    back = reverse("leads:list", args=[request.tenant.slug])
    if request.method != "POST":
        points = [_("The leads stay as they are.")]
        if view.shared:
            points.append(_("It goes for everybody in the workspace."))
        title = _("Delete the view “%(name)s”?") % {"name": view.name}
        question = Question(
            title, _("Delete"), tuple(points), back, "trash", danger=True, target="#dialog-body"
        )
        return ask(request, question)
    viewing.delete_view(view, by=request.user)
    messages.success(request, _("The view is deleted."))
    return go(request, back)


def _form(
    request: TenantRequest,
    form: ViewForm,
    query: str,
    *,
    title: str,
    view: SavedView | None = None,
) -> HttpResponse:
    context = {
        "form": form,
        "query": query,
        "title": title,
        "view": view,
        "action": request.path,
        "back": reverse("leads:list", args=[request.tenant.slug]) + f"?{query}",
    }
    return dialog(request, "leads/view_form.html", context)


def _check(request: TenantRequest, view: SavedView) -> None:
    """Raise PermissionDenied unless this person may change the view."""
    if not viewing.may_change(view, request.membership):
        raise PermissionDenied(refusal("leads.share_views"))


def _canonical(request: TenantRequest, query: str) -> str:
    data = QueryDict(query)
    return canonical(LeadFilter(data, tenant=request.tenant), Layout.read(data))


def _address(request: TenantRequest, view: SavedView) -> str:
    query = "&".join(filter(None, [urlencode({"view": view.pk}), view.query]))
    return reverse("leads:list", args=[request.tenant.slug]) + f"?{query}"
