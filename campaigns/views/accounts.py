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
from campaigns.account_forms import BlockForm
from campaigns.models import SendingAccount
from integrations.views.shared import ANYWHERE, decide
from tenants.http import TenantRequest, requires


@requires("accounts.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def account_block(request: TenantRequest, pk: int) -> HttpResponse:
    account = get_object_or_404(request.tenant.sending_accounts, pk=pk)
    form = BlockForm(request.POST or None)
    if request.method != "POST":
        points = (
            _("Nothing leaves through this account, in any campaign, until it is unblocked."),
            _("Its waiting messages go to the campaign's other accounts, if there are any."),
        )
        title = _("Block @%(handle)s?") % {"handle": account.handle}
        question = Question(
            title,
            _("Block"),
            points,
            back(request, account),
            "ban",
            danger=True,
            target=ANYWHERE,
        )
        return decide(request, question, form)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    return account_act(
        request,
        account,
        lambda: actions.block_account(account, by=request.user, now=timezone.now(), reason=reason),
        _("The account is blocked."),
    )


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
        question = Question(
            title, _("Unblock"), points, back(request, account), "lock-open", target=ANYWHERE
        )
        return ask(request, question)
    return account_act(
        request,
        account,
        lambda: actions.unblock_account(account, by=request.user, now=timezone.now()),
        _("The account is unblocked."),
    )


def back(request: TenantRequest, account: SendingAccount) -> str:
    """The account's page."""
    return reverse("accounts:detail", args=[request.tenant.slug, account.pk])


def account_act(
    request: TenantRequest, account: SendingAccount, act: Callable[[], None], done: str
) -> HttpResponse:
    """Do it. A page behind the dialog hears of it by an event and asks again by itself."""
    try:
        act()
        messages.success(request, done)
    except Refused as error:
        messages.error(request, str(error))
    return answer(request, account)


def answer(request: TenantRequest, account: SendingAccount) -> HttpResponse:
    """The toasts and news for the live parts behind; without scripts the account's page."""
    if not request.htmx:
        return redirect(back(request, account))
    response = render_page(request, "includes/toasts_oob.html", {})
    return trigger_client_event(reswap(response, "none"), "campaign-changed")
