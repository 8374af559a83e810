"""Sending accounts: what each may still send and what holds it, its pace, its credential."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agenticos.errors import Refused
from agenticos.htmx import render_page
from campaigns import accounts, capacity, codes
from campaigns.account_forms import AccountForm, PaceForm
from campaigns.models import Campaign, Message, SendingAccount, TestSend
from campaigns.views.accounts import answer, back
from integrations import connecting
from integrations.connecting import NotTaken
from integrations.forms import TokenForm
from integrations.models import Connection
from tenants.http import TenantRequest, fresh, requires
from tenants.models import AuditEntry

INSTAGRAM = Connection.Kind.INSTAGRAM
HISTORY_ROWS = 20
ERROR_ROWS = 10
TEST_ROWS = 5
HISTORY = {
    "account.created": gettext_lazy("Connected"),
    "account.updated": gettext_lazy("Pace changed"),
    "account.blocked": gettext_lazy("Blocked"),
    "account.unblocked": gettext_lazy("Unblocked"),
    "account.test_sent": gettext_lazy("Test message sent"),
    "account.test_recipient_changed": gettext_lazy("Test recipient changed"),
    "connection.created": gettext_lazy("Credential stored"),
    "connection.updated": gettext_lazy("Connection changed"),
    "connection.credential_changed": gettext_lazy("Token replaced"),
    "connection.broken": gettext_lazy("Token refused by the provider"),
    "connection.mended": gettext_lazy("Token works again"),
}


@requires("accounts.view")
@require_safe
def account_list(request: TenantRequest) -> HttpResponse:
    """The accounts; asked again every few seconds while a campaign sends through one."""
    rows = capacity.capacities(
        request.tenant,
        list(request.tenant.sending_accounts.order_by("handle")),
        timezone.now(),
    )
    context = {
        "rows": rows,
        "moving": any(_is_moving(row) for row in rows),
        "room": sum(row.room for row in rows if row.account.state == "active"),
        "blocked": sum(row.account.state == "blocked" for row in rows),
    }
    return render_page(request, "sending_accounts/list.html", context, parts=["accounts"])


def _is_moving(row: capacity.Capacity) -> bool:
    running = any(campaign.state == Campaign.State.RUNNING for campaign in row.campaigns)
    return running and row.kind in ("ok", "wait")


@requires("accounts.view")
@require_safe
def account_detail(request: TenantRequest, pk: int) -> HttpResponse:
    account = _one(request, pk)
    now = timezone.now()
    row = capacity.capacities(request.tenant, [account], now)[0]
    tests = list(account.test_sends.select_related("created_by").order_by("-pk")[:TEST_ROWS])
    trying = any(test.state == TestSend.State.CLAIMED for test in tests)
    context: dict[str, Any] = {"row": row, "account": account, "tests": tests}
    context["moving"] = trying or _is_moving(row)
    days, hours = capacity.usage(account, request.tenant, now)
    context |= {
        "days": days,
        "hours": hours,
        "days_sum": sum(bar.used for bar in days),
        "hours_sum": sum(bar.used for bar in hours),
        "history": _history(account),
        "errors": _errors(account),
    }
    return render_page(request, "sending_accounts/detail.html", context, parts=["account"])


def _one(request: TenantRequest, pk: int) -> SendingAccount:
    found = request.tenant.sending_accounts.select_related("connection")
    return get_object_or_404(found, pk=pk)


def _history(account: SendingAccount) -> list[tuple[AuditEntry, str, str]]:
    """The newest entries about the account and its connection: entry, words, reason."""
    about = {
        account._meta.label_lower: account.pk,
        Connection._meta.label_lower: account.connection_id,
    }
    found: list[AuditEntry] = []
    for kind, pk in about.items():
        entries = AuditEntry.objects.filter(object_type=kind, object_id=pk).order_by("-pk")
        found += entries[:HISTORY_ROWS]
    found.sort(key=lambda entry: entry.pk, reverse=True)
    return [
        (entry, str(HISTORY.get(entry.action, entry.action)), _of_entry(entry))
        for entry in found[:HISTORY_ROWS]
    ]


def _of_entry(entry: AuditEntry) -> str:
    """What an entry tells beyond its name: a code's sentence, or the values that were changed."""
    if code := entry.data.get("code"):
        return codes.sentence(str(code))
    before, after = entry.data.get("before", {}), entry.data.get("after", {})
    fields = PaceForm.base_fields
    return ", ".join(
        f"{fields[name].label if name in fields else name}: {before.get(name, '')} → {value}"
        for name, value in after.items()
    )


def _errors(account: SendingAccount) -> list[Message]:
    """The latest messages of the account that failed or whose outcome is unknown."""
    # By campaign and state: of that there is an index, of the account there is none.
    campaigns = account.campaign_links.values("campaign")
    return list(
        Message.objects.filter(
            campaign__in=campaigns,
            state__in=[Message.State.FAILED, Message.State.UNKNOWN],
            account=account,
        )
        .select_related("campaign", "lead")
        .defer("text")
        .order_by("-updated_at")[:ERROR_ROWS]
    )


@requires("accounts.view")
@require_safe
def account_of_connection(request: TenantRequest, connection: int) -> HttpResponse:
    """From a connection, whose app knows no accounts, to the account that sends through it."""
    account = get_object_or_404(request.tenant.sending_accounts, connection=connection)
    return redirect(back(request, account))


@requires("connections.manage")
@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def account_add(request: TenantRequest) -> HttpResponse:
    """Connect an Instagram account: tried out first, stored only when it works."""
    form = AccountForm(request.POST or None)
    refused: NotTaken | None = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            known_as = connecting.try_out(INSTAGRAM, values["external_id"], values["token"])
            account = accounts.add_account(
                request.tenant, known_as=known_as, by=request.user, now=timezone.now(), **values
            )
            messages.success(
                request, _("Connected: Instagram calls it “%(name)s”.") % {"name": known_as}
            )
            return redirect(back(request, account))
        except NotTaken as error:
            refused = error
        except Refused as error:
            field = "handle" if error.code == "handle_taken" else "external_id"
            form.add_error(field, str(error))
    context = {"form": form, "refused": refused}
    return render_page(request, "sending_accounts/add.html", context)


@requires("accounts.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def account_edit(request: TenantRequest, pk: int) -> HttpResponse:
    """Change caps, pauses and clock."""
    account = _one(request, pk)
    initial = PaceForm.initial_of(account)
    form = PaceForm(request.POST or None, tenant=request.tenant, initial=initial)
    if request.method == "POST" and form.is_valid():
        if accounts.edit_account(account, form.cleaned_data, by=request.user, now=timezone.now()):
            messages.success(request, _("Saved: it holds from the next message on."))
        return redirect(back(request, account))
    context = {"account": account, "form": form}
    return render_page(request, "sending_accounts/edit.html", context)


@requires("connections.manage")
@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def account_token(request: TenantRequest, pk: int) -> HttpResponse:
    """Replace the token: tried out first; the old one stays until the new one works."""
    account = _one(request, pk)
    form = TokenForm(request.POST or None)
    refused: NotTaken | None = None
    if request.method == "POST" and form.is_valid():
        token = form.cleaned_data["token"]
        try:
            known_as = connecting.try_out(INSTAGRAM, account.connection.external_id, token)
            unblocked = accounts.renew_credential(
                account, token, known_as, by=request.user, now=timezone.now()
            )
            messages.success(request, _renewed(known_as, unblocked=unblocked))
            return redirect(back(request, account))
        except NotTaken as error:
            refused = error
    context = {"account": account, "form": form, "refused": refused}
    return render_page(request, "sending_accounts/token.html", context)


def _renewed(known_as: str, *, unblocked: bool) -> str:
    words = _("The new token works: Instagram answers as “%(name)s”.") % {"name": known_as}
    return " ".join([words, _("The account is unblocked.")]) if unblocked else words


@requires("accounts.edit")
@require_POST
def account_test(request: TenantRequest, pk: int) -> HttpResponse:
    """Call the provider with the stored token, and say what came of it."""
    account = _one(request, pk)
    try:
        name = accounts.probe_credential(account, by=request.user, now=timezone.now())
        messages.success(request, _("It works: Instagram answers as “%(name)s”.") % {"name": name})
    except NotTaken as error:
        messages.error(request, str(error))
    return answer(request, account)
