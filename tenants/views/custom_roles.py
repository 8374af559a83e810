"""The roles of a workspace's own: made, changed and deleted by owners."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from tenants import custom_roles
from tenants.forms import RoleForm
from tenants.http import TenantRequest, fresh, requires
from tenants.models import CustomRole
from tenants.roles import BASE, NAMES


@requires("members.manage")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def role_add(request: TenantRequest) -> HttpResponse:
    """Define a role: a name and rights."""
    return _defined(request, None)


@requires("members.manage")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def role_edit(request: TenantRequest, pk: int) -> HttpResponse:
    """Change the name or the rights of a role."""
    return _defined(request, _role(request, pk))


@requires("members.manage")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def role_delete(request: TenantRequest, pk: int) -> HttpResponse:
    """Ask, then delete a role that nobody has."""
    row = _role(request, pk)
    team = reverse("team:list", args=[request.tenant.slug])
    if request.method != "POST":
        question = Question(
            title=_("Delete the role “%(name)s”?") % {"name": row.name},
            yes=_("Delete"),
            points=(_("Nobody has it. What was done with it stays in the history."),),
            back=team,
            icon="key",
            danger=True,
        )
        return ask(request, question)
    try:
        custom_roles.delete_role(row, by=request.user)
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The role “%(name)s” is deleted.") % {"name": row.name})
    return HttpResponseClientRedirect(team) if request.htmx else redirect(team)


def _field_of(error: Refused) -> str | None:
    return {"bad_name": "name", "name_taken": "name", "bad_rights": "rights"}.get(error.code)


def _defined(request: TenantRequest, row: CustomRole | None) -> HttpResponse:
    """The form of a role, new or known; what is sent is stored, or the form says why not."""
    initial = {"name": row.name, "rights": row.rights} if row else None
    form = RoleForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            if row:
                custom_roles.edit_role(row, request.membership, **form.cleaned_data)
                said = _("Saved. It holds from everybody's next click.")
            else:
                made = custom_roles.create_role(request.membership, **form.cleaned_data)
                said = _("The role “%(name)s” is there.") % {"name": made.name}
        except Refused as error:
            form.add_error(_field_of(error), str(error))
        else:
            messages.success(request, said)
            return redirect("team:list", request.tenant.slug)
    base = [NAMES[right] for right in NAMES if right in BASE]
    return render_page(request, "tenants/role.html", {"form": form, "role": row, "base": base})


def _role(request: TenantRequest, pk: int) -> CustomRole:
    return get_object_or_404(request.tenant.custom_roles, pk=pk)
