"""The members of a tenant, and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from tenants import actions, custom_roles
from tenants.forms import InvitationForm
from tenants.http import TenantRequest, fresh, requires
from tenants.models import Invitation, Membership
from tenants.roles import ACTIONS, CUSTOM, NAMES, Role, can, may_hold


@dataclass(frozen=True, slots=True)
class Right:
    """One line of the table: a right, and for each role whether it has it."""

    name: str
    held: list[bool]


@requires("tenant.view")
@require_safe
def team_list(request: TenantRequest) -> HttpResponse:
    """Who works here, and what the roles mean."""
    members = list(request.tenant.memberships.select_related("user", "custom_role"))
    order = [*Role.values, CUSTOM]
    own = list(custom_roles.of_tenant(request.tenant))
    for role in own:
        role.why_kept = custom_roles.why_kept(role.n_members, role.n_invited)  # type: ignore[attr-defined]  # for the template
    members.sort(key=lambda row: (order.index(row.role), str(row.user).casefold()))
    context = {
        "members": members,
        "owners": sum(row.role == Role.OWNER for row in members),
        "roles": custom_roles.choices(own),
        "own_roles": own,
        "room": len(own) < custom_roles.MOST,
        "most": custom_roles.MOST,
        "my_role": _choice(request.membership),
        "invitations": _invitations(request),
        "form": InvitationForm(auto_id="invite_%s", roles=own),
        "rights_table": [
            Right(
                str(NAMES.get(action, action)),
                [role in ACTIONS[action] for role in Role]
                + [may_hold(role.rights, action) for role in own],
            )
            for action in sorted(ACTIONS, key=_place)
        ],
    }
    for member in members:
        member.choice = _choice(member)  # type: ignore[attr-defined]  # for the template
    return render_page(request, "tenants/team.html", context)


def _choice(member: Membership) -> str:
    """What stands for the member's role in the choice of roles."""
    return custom_roles.choice_of(member.custom_role) if member.custom_role else member.role


def _invitations(request: TenantRequest) -> list[Invitation]:
    """Those that wait, for who may send them; the oldest first."""
    if not can(request.membership, "members.manage"):
        return []
    now = timezone.now()
    rows = request.tenant.invitations.select_related("custom_role").filter(accepted_at=None)
    waiting = list(rows.order_by("sent_at"))
    for row in waiting:
        row.is_over = row.expires_at <= now  # type: ignore[attr-defined]  # for the template
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
        values = {"name": member.user.get_full_name(), "role": member.role_name}
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
    members = request.tenant.memberships.select_related("user", "custom_role")
    return get_object_or_404(members, pk=pk)
