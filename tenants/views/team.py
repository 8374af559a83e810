"""The members of a tenant, and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from tenants import actions
from tenants.forms import InvitationForm
from tenants.http import TenantRequest, fresh, requires
from tenants.models import Invitation, Membership
from tenants.roles import ACTIONS, Role, can

# What the rights are called for people, in the order of the table.
NAMES: dict[str, Promise] = {
    "tenant.view": gettext_lazy("See the workspace"),
    "campaigns.view": gettext_lazy("See campaigns and their numbers"),
    "messages.view_text": gettext_lazy("Read message texts"),
    "leads.view": gettext_lazy("See leads"),
    "icp.view": gettext_lazy("See the ICP"),
    "accounts.view": gettext_lazy("See sending accounts"),
    "tenant.stop": gettext_lazy("Stop all sending"),
    "campaigns.control": gettext_lazy("Pause and stop campaigns"),
    "campaigns.edit": gettext_lazy("Write campaigns and templates"),
    "messages.test": gettext_lazy("Send test messages"),
    "messages.resolve": gettext_lazy("Resolve and retry messages"),
    "leads.edit": gettext_lazy("Edit leads"),
    "leads.import": gettext_lazy("Import leads"),
    "campaigns.launch": gettext_lazy("Start campaigns"),
    "campaigns.resume": gettext_lazy("Resume campaigns, lift the stop"),
    "leads.export": gettext_lazy("Export leads"),
    "leads.free": gettext_lazy("Lift a do-not-contact mark"),
    "leads.erase": gettext_lazy("Erase people for good"),
    "leads.share_views": gettext_lazy("Change views that others share"),
    "icp.edit": gettext_lazy("Publish ICP versions"),
    "accounts.edit": gettext_lazy("Manage sending accounts"),
    "connections.view": gettext_lazy("See integrations"),
    "sync.retry": gettext_lazy("Retry and discard what did not reach the CRM"),
    "tenant.edit": gettext_lazy("Change the settings"),
    "audit.view": gettext_lazy("Read the audit trail"),
    "ops.view": gettext_lazy("See how the work goes, and have the data checked"),
    "connections.manage": gettext_lazy("Manage integrations and their credentials"),
    "members.manage": gettext_lazy("Manage members"),
    "privacy.manage": gettext_lazy("Say how long things are kept"),
    "keys.manage": gettext_lazy("Make API keys"),
    "keys.oversee": gettext_lazy("See and revoke the API keys of others"),
}


@dataclass(frozen=True, slots=True)
class Right:
    """One line of the table: a right, and for each role whether it has it."""

    name: str
    held: list[bool]


@requires("tenant.view")
@require_safe
def team_list(request: TenantRequest) -> HttpResponse:
    """Who works here, and what the roles mean."""
    members = list(request.tenant.memberships.select_related("user"))
    order = list(Role.values)
    members.sort(key=lambda row: (order.index(row.role), str(row.user).casefold()))
    context = {
        "members": members,
        "owners": sum(row.role == Role.OWNER for row in members),
        "roles": Role.choices,
        "invitations": _invitations(request),
        "form": InvitationForm(auto_id="invite_%s"),
        "rights_table": [
            Right(str(NAMES.get(action, action)), [role in ACTIONS[action] for role in Role])
            for action in sorted(ACTIONS, key=_place)
        ],
    }
    return render_page(request, "tenants/team.html", context)


def _invitations(request: TenantRequest) -> list[Invitation]:
    """Those that wait, for who may send them; the oldest first."""
    if not can(request.membership, "members.manage"):
        return []
    now = timezone.now()
    waiting = list(request.tenant.invitations.filter(accepted_at=None).order_by("sent_at"))
    for row in waiting:
        row.is_over = row.expires_at <= now  # type: ignore[attr-defined]
    return waiting


def _place(action: str) -> int:
    names = list(NAMES)
    return names.index(action) if action in NAMES else len(names)


@requires("members.manage")
@require_POST
@fresh
def member_role(request: TenantRequest, pk: int) -> HttpResponse:
    """Give a member the role of the form."""
    member = _member(request, pk)
    try:
        actions.change_role(
            member, request.POST.get("role", ""), by=request.user, now=timezone.now()
        )
    except Refused as error:
        messages.error(request, str(error))
    else:
        text = _("%(name)s now has the role “%(role)s”.")
        values = {"name": member.user.get_full_name(), "role": member.get_role_display()}
        messages.success(request, text % values)
    return redirect("team:list", request.tenant.slug)


@requires("members.manage")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def member_remove(request: TenantRequest, pk: int) -> HttpResponse:
    """Ask, then take a person out of the tenant."""
    member = _member(request, pk)
    tenant, name = request.tenant, member.user.get_full_name()
    team = redirect("team:list", tenant.slug)
    if request.method != "POST":
        question = Question(
            title=_("Remove %(name)s from %(tenant)s?") % {"name": name, "tenant": tenant.name},
            yes=_("Remove"),
            points=(
                _("They lose sight of this workspace with their next click."),
                _("API keys that they made stop working at once."),
                _("What they did stays in the history, under their name."),
            ),
            back=team.url,
            icon="user",
            danger=True,
            target="#dialog-body",
        )
        return ask(request, question)
    try:
        actions.remove_member(member, by=request.user, now=timezone.now())
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("%(name)s was removed.") % {"name": name})
    if not request.htmx:
        return team
    # Who removes themselves is a stranger from here on.
    return HttpResponseClientRedirect("/" if member.user_id == request.user.pk else team.url)


def _member(request: TenantRequest, pk: int) -> Membership:
    members = request.tenant.memberships.select_related("user")
    return get_object_or_404(members, pk=pk)
