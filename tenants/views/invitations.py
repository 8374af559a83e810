"""Invitations: sent, sent again and withdrawn by owners; accepted by who got the mail."""

from __future__ import annotations

import logging
from typing import Any, cast

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from agenticos import scope
from agenticos.errors import Refused
from tenants import inviting
from tenants.forms import InvitationForm, NewPersonForm
from tenants.http import TenantRequest, fresh, requires
from tenants.models import Invitation, User

logger = logging.getLogger(__name__)


# --- The owner's side -------------------------------------------------------------------------


@requires("members.manage")
@require_POST
@fresh
def invite(request: TenantRequest) -> HttpResponse:
    """Invite the e-mail address of the form."""
    form = InvitationForm(request.POST, roles=list(request.tenant.custom_roles.all()))
    if not form.is_valid():
        for error in form.errors.values():
            messages.error(request, " ".join(map(str, error)))
        return redirect("team:list", request.tenant.slug)
    try:
        row = inviting.invite(
            request.tenant,
            form.cleaned_data["email"],
            form.cleaned_data["role"],
            by=request.user,
            now=timezone.now(),
        )
    except Refused as error:
        messages.error(request, str(error))
    else:
        _mail(request, row)
    return redirect("team:list", request.tenant.slug)


@requires("members.manage")
@require_POST
@fresh
def send_again(request: TenantRequest, pk: int) -> HttpResponse:
    """A new link, for another 7 days."""
    try:
        row = inviting.renew(_waiting(request, pk), by=request.user, now=timezone.now())
    except Refused as error:
        messages.error(request, str(error))
    else:
        _mail(request, row)
    return redirect("team:list", request.tenant.slug)


@requires("members.manage")
@require_POST
@fresh
def withdraw(request: TenantRequest, pk: int) -> HttpResponse:
    """The link that was sent is dead from now on."""
    row = _waiting(request, pk)
    try:
        inviting.withdraw(row, by=request.user)
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(
            request, _("The invitation of %(email)s is withdrawn.") % {"email": row.email}
        )
    return redirect("team:list", request.tenant.slug)


def _waiting(request: TenantRequest, pk: int) -> Invitation:
    return get_object_or_404(request.tenant.invitations.filter(accepted_at=None), pk=pk)


def _mail(request: TenantRequest, row: Invitation) -> None:
    link = request.build_absolute_uri(reverse("invitation", args=[inviting.token_of(row)]))
    said = {"email": row.email}
    try:
        inviting.mail(row, link)
    except OSError as error:  # smtplib's errors are OSErrors
        logger.warning("invitation.mail_failed invitation=%s kind=%s", row.pk, type(error).__name__)
        text = _("The mail to %(email)s could not be sent. Send it again in a while.")
        messages.error(request, text % said)
    else:
        text = _("%(email)s got a mail with a link that is good for 7 days.")
        messages.success(request, text % said)


# --- The invited person's side ----------------------------------------------------------------


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Join as who is logged in, or as a new person with name and password."""
    row = inviting.find(token, now=timezone.now())
    if row is None:
        return render(request, "tenants/invitation.html", {"state": "gone"}, status=404)
    form = NewPersonForm(request.POST or None, email=row.email)
    state = _state(request, row)
    with scope.as_tenant(row.tenant_id):
        try:
            if request.method == "POST" and state == "join":
                inviting.accept(row, cast(User, request.user), now=timezone.now())
                return redirect(row.tenant)
            if request.method == "POST" and state == "new" and form.is_valid():
                return _enter(request, row, form.cleaned_data)
        except Refused as error:
            messages.error(request, str(error))
            return redirect(request.path)
    context = {"state": state, "invitation": row, "inviting": row.tenant, "form": form}
    return render(request, "tenants/invitation.html", context)


def _state(request: HttpRequest, row: Invitation) -> str:
    """What the page offers: `join` or `other` to who is logged in, else `login` or `new`."""
    if request.user.is_authenticated:
        return "join" if request.user.email.lower() == row.email else "other"
    return "login" if User.objects.filter(email__iexact=row.email).exists() else "new"


def _enter(request: HttpRequest, row: Invitation, values: dict[str, Any]) -> HttpResponse:
    member = inviting.accept_as_new(
        row, name=values["name"], password=values["password"], now=timezone.now()
    )
    login = Login(user=member.user, email=row.email, redirect_url=row.tenant.get_absolute_url())
    return cast(HttpResponse, perform_password_login(request, {"email": row.email}, login))
