"""Test messages: a text sent for real to a profile of the team's own."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRefresh

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.leasing import new_token
from agenticos.questions import Question
from campaigns import capacity, prospects, rendering, sampling, trials
from campaigns.facts import values_of
from campaigns.models import Campaign, SendingAccount, Template, TestSend
from campaigns.trial_forms import RecipientForm, TrialForm
from campaigns.views.accounts import answer, back
from integrations.views.shared import ANYWHERE, decide
from leads.models import Lead
from tenants.http import TenantRequest, requires
from tenants.roles import can

SHOWN = 8


@requires("messages.test")
@require_http_methods(["GET", "HEAD", "POST"])
def trial(request: TenantRequest) -> HttpResponse:
    """Choose text, account and person, see what would be said, and send it to the team's own.

    A POST sends with `do=send`, and else only shows. `campaign`, `template` and `account` in the
    address say where one came from, and what the form begins with.
    """
    source = _Source(request)
    if request.method != "POST" and request.htmx.target == "tests":
        return render_page(request, "trials/send.html", _latest(request), parts=["tests"])
    form = TrialForm(
        request.POST or None,
        accounts=_accounts(request),
        people=source.people,
        initial={"text": source.text, "account": source.account, "key": new_token()},
    )
    sends = request.POST.get("do") == "send"
    if request.method == "POST" and sends and form.is_valid() and _send(request, form):
        return redirect(request.get_full_path())
    text = str(form["text"].value() or "")
    context = {"form": form, "source": source, **_shown(request, form, text), **_latest(request)}
    context["may_set"] = can(request.membership, "accounts.edit")
    context["without"] = [row for row in form.choosable if not row.test_recipient]
    return render_page(request, "trials/send.html", context, parts=["said"])


def _send(request: TenantRequest, form: TrialForm) -> bool:
    """Put it on its way; False when it may not go, and the form says why."""
    values = form.cleaned_data
    account: SendingAccount = values["account"]
    try:
        trials.ask_for_test(
            account, values["rendered"], key=values["key"], by=request.user, now=timezone.now()
        )
    except Refused as error:
        form.add_error("account" if error.code != "no_text" else "text", str(error))
        return False
    messages.success(
        request,
        _("On its way to %(who)s, from @%(handle)s.")
        % {"who": account.test_recipient, "handle": account.handle},
    )
    return True


class _Source:
    """Where the text comes from: a draft, a template, an account, or nowhere."""

    def __init__(self, request: TenantRequest) -> None:
        tenant = request.tenant
        self.campaign: Campaign | None = _picked(request, "campaign", tenant.campaigns.all())
        self.template: Template | None = _picked(request, "template", tenant.templates.all())
        picked: SendingAccount | None = _picked(request, "account", tenant.sending_accounts.all())
        self.text = _("Hello {first_name|there}! This is a test.")
        ready = tenant.sending_accounts.exclude(test_recipient="").order_by("handle").first()
        first = picked or ready
        self.account = str(first.pk) if first else ""
        self.back, self.name = reverse("accounts:list", args=[tenant.slug]), _("Sending accounts")
        leads = prospects.newest()
        if self.campaign:
            step = self.campaign.steps.order_by("number", "-version").first()
            self.text = step.body if step else ""
            links = self.campaign.account_links.order_by("account_id")
            if not picked and not links.filter(account=self.account or 0).exists():
                self.account = str(next(iter(links.values_list("account_id", flat=True)), ""))
            leads = prospects.leads_of(self.campaign)
            is_draft = self.campaign.state == Campaign.State.DRAFT
            route = "campaigns:content" if is_draft else "campaigns:sequence"
            self.back = reverse(route, args=[tenant.slug, self.campaign.pk])
            self.name = self.campaign.name
        elif self.template:
            self.text = self.template.body
            self.back = reverse("templates:detail", args=[tenant.slug, self.template.pk])
            self.name = self.template.name
        elif picked:
            self.back, self.name = back(request, picked), f"@{picked.handle}"
        self.people = self._worst_first(leads, request.POST.get("text", self.text))

    @staticmethod
    def _worst_first(leads: list[Lead], text: str) -> list[sampling.Sample]:
        try:
            return sampling.samples(text or "-", leads)
        except rendering.BadTemplate:
            return sampling.samples("-", leads)


def _picked(request: TenantRequest, name: str, rows: Any) -> Any:
    number = request.GET.get(name, "")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    return rows.filter(pk=number).first()


def _accounts(request: TenantRequest) -> list[SendingAccount]:
    return list(
        request.tenant.sending_accounts.exclude(state=SendingAccount.State.OFF).order_by("handle")
    )


def _shown(request: TenantRequest, form: TrialForm, text: str) -> dict[str, Any]:
    """What the text says to the person chosen, and when the account may send."""
    person = form.person
    context: dict[str, Any] = {"person": person, "said": "", "problem": "", "missing": ()}
    if text.strip():
        try:
            values = values_of(person) if person else dict.fromkeys(rendering.PLACEHOLDERS, "")
            rendered = rendering.render(rendering.parse(text), values, seed="test")
            context["said"], context["missing"] = rendered.text, rendered.missing
        except rendering.BadTemplate as error:
            context["problem"] = error.sentence
    if account := form.chosen:
        context["chosen"] = account
        context["row"] = capacity.capacities(request.tenant, [account], timezone.now())[0]
    return context


def _latest(request: TenantRequest) -> dict[str, Any]:
    rows = TestSend.objects.select_related("account", "created_by").order_by("-pk")
    tests = list(rows.defer("text")[:SHOWN])
    open_ = any(test.state == TestSend.State.CLAIMED for test in tests)
    return {"tests": tests, "open": open_}


@requires("accounts.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def account_recipient(request: TenantRequest, pk: int) -> HttpResponse:
    """Who gets the test messages of an account."""
    found = request.tenant.sending_accounts.select_related("connection")
    account = get_object_or_404(found, pk=pk)
    if request.method != "POST":
        points = (
            _("Only this profile ever gets a test message of this account."),
            _(
                "Instagram delivers to people who wrote to the account in the last 24 hours: send "
                "it a message from there first."
            ),
        )
        title = _("Who gets the test messages of @%(handle)s?") % {"handle": account.handle}
        form = RecipientForm(initial={"recipient": account.test_recipient})
        question = Question(
            title, _("Save"), points, back(request, account), "message", target=ANYWHERE
        )
        return decide(request, question, form)
    form = RecipientForm(request.POST)
    given = form.cleaned_data["recipient"] if form.is_valid() else "?"
    try:
        trials.set_recipient(account, given, by=request.user)
    except Refused as error:
        messages.error(request, str(error))
        return answer(request, account)
    messages.success(request, _("Saved."))
    # Two pages ask for it; each of them is shown anew.
    return HttpResponseClientRefresh() if request.htmx else redirect(back(request, account))
