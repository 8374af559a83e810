"""Taking a sending account out of rotation, and back."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods
from django_htmx.http import reswap, trigger_client_event

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from campaigns import actions
from campaigns.models import SendingAccount
from tenants.http import TenantRequest, requires


@requires("accounts.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def account_block(request: TenantRequest, pk: int) -> HttpResponse:
    account = get_object_or_404(request.tenant.sending_accounts, pk=pk)
    if request.method != "POST":
        points = (
            _("Nothing leaves through this account, in any campaign, until it is unblocked."),
            _("Its waiting messages go to the campaign's other accounts, if there are any."),
        )
        title = _("Block @%(handle)s?") % {"handle": account.handle}
        return ask(request, Question(title, _("Block"), points, _back(request), "ban", danger=True))
    return _account_act(request, account, actions.block_account, _("The account is blocked."))


@requires("accounts.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def account_unblock(request: TenantRequest, pk: int) -> HttpResponse:
    account = get_object_or_404(request.tenant.sending_accounts, pk=pk)
    if request.method != "POST":
        points = (
            *filter(None, [account.why]),
            _("Do this when the provider has let the account in again, or its credential is new."),
        )
        title = _("Unblock @%(handle)s?") % {"handle": account.handle}
        return ask(request, Question(title, _("Unblock"), points, _back(request), "lock-open"))
    return _account_act(request, account, actions.unblock_account, _("The account is unblocked."))


def _back(request: TenantRequest) -> str:
    return reverse("campaigns:list", args=[request.tenant.slug])


def _account_act(
    request: TenantRequest, account: SendingAccount, act: Callable[..., None], done: str
) -> HttpResponse:
    """Do it. A panel behind the dialog hears of it by an event and asks again by itself."""
    try:
        act(account, by=request.user, now=timezone.now())
        messages.success(request, done)
    except Refused as error:
        messages.error(request, str(error))
    if not request.htmx:
        return redirect(_back(request))
    response = render_page(request, "includes/toasts_oob.html", {})
    return trigger_client_event(reswap(response, "none"), "campaign-changed")
