"""A draft in two steps: whom it writes to; then what it says, from whom and when.

The draft is stored after the first step, so nothing is lost between the two.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from agenticos.errors import Refused
from agenticos.htmx import render_page
from campaigns import codes, day_plan, drafting, facts, prospects, rendering, sampling
from campaigns.forms import AudienceForm, ContentForm
from campaigns.models import Campaign, SendingAccount
from campaigns.reach import Reach
from campaigns.views.shared import one_of
from leads.models import Band, Icp, Lead
from tenants.http import TenantRequest, requires

PREVIEWS = 3
TEMPLATES_MAX = 100
TEMPLATES_FEW = 6  # so many have a button each: one click


# --- Step 1: whom ------------------------------------------------------------------------------


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_create(request: TenantRequest) -> HttpResponse:
    return _audience_step(request, None)


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_update(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = one_of(request, pk)
    return _only_a_draft(request, campaign) or _audience_step(request, campaign)


@requires("campaigns.edit")
@require_POST
def campaign_count(request: TenantRequest) -> HttpResponse:
    """Who the audience in the form would be. Stores nothing."""
    form = AudienceForm(request.POST, request.FILES, tenant=request.tenant, counting=True)
    context = {"form": form, **_summary(request, form)}
    return render_page(request, "campaigns/form.html", context, parts=["count"])


def _only_a_draft(request: TenantRequest, campaign: Campaign) -> HttpResponse | None:
    if campaign.state == Campaign.State.DRAFT:
        return None
    messages.error(request, _("Only a draft can be changed."))
    return redirect(campaign)


def _audience_step(request: TenantRequest, campaign: Campaign | None) -> HttpResponse:
    tenant, now = request.tenant, timezone.now()
    initial = AudienceForm.initial_of(campaign) if campaign else _first_values(request)
    form = AudienceForm(request.POST or None, request.FILES or None, tenant=tenant, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            if campaign is None:
                campaign = drafting.begin_draft(tenant, **form.saved(), by=request.user, now=now)
            else:
                drafting.edit_audience(campaign, **form.saved(), by=request.user, now=now)
        except Refused as error:
            messages.error(request, str(error))
            return redirect("campaigns:list", tenant.slug)
        return redirect("campaigns:content", tenant.slug, campaign.pk)
    context = {"campaign": campaign, "form": form, **_summary(request, form)}
    return render_page(request, "campaigns/form.html", context)


def _first_values(request: TenantRequest) -> dict[str, Any]:
    """What a new draft begins with; the example is for people who look around."""
    if "example" not in request.GET:
        # The list of leads links here with its filter.
        chosen = {"bands": request.GET.getlist("bands"), "tag": request.GET.get("tag", "")}
        return {name: value for name, value in chosen.items() if value}
    return {"name": _("My first campaign"), "tags": _("example"), "limit": 20}


def _summary(request: TenantRequest, form: AudienceForm) -> dict[str, Any]:
    """The count beside the form: by band, and who is left out; of the values as they stand."""
    checked = form
    if not form.is_bound:
        values = {name: form[name].value() for name in form.fields if name != "file"}
        checked = AudienceForm(values, tenant=request.tenant, counting=True)
    checked.is_valid()
    if set(checked.errors) - {"name", "tags"}:
        return {"summary": None}
    for name in ("name", "tags"):
        checked.cleaned_data.setdefault(name, "")
    values = checked.saved()
    icp = Icp.objects.select_related("live").filter(tenant=request.tenant).first()
    draft = Campaign(tenant=request.tenant, **values)
    summary = Reach(draft, timezone.now(), icp.live if icp else None, None).summary()
    return {
        "summary": summary,
        "has_icp": icp is not None,
        "bands": [(band, band.label, summary.by_band.get(band, 0)) for band in Band],
        "left_out": [
            (codes.sentence(code), count)
            for code, count in (summary.left_out | summary.no_match).items()
            if count
        ],
    }


# --- Step 2: what, from whom, when -------------------------------------------------------------


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_content(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = one_of(request, pk)
    if refusal := _only_a_draft(request, campaign):
        return refusal
    initial = ContentForm.initial_of(campaign)
    typed = request.POST.copy() if request.method == "POST" else None
    picks = "use" in request.POST
    if picks and typed is not None and (body := _template_body(request)):
        typed["text"] = body  # beside whatever else was typed; nothing is saved yet
    form = ContentForm(typed, tenant=request.tenant, initial=initial)
    if request.method == "POST" and not picks and form.is_valid():
        try:
            drafting.edit_content(campaign, **form.saved(), by=request.user, now=timezone.now())
        except Refused as error:
            messages.error(request, str(error))
            return redirect(campaign)
        messages.success(request, _("The draft is saved."))
        if request.POST.get("then") == "back":
            return redirect("campaigns:update", request.tenant.slug, campaign.pk)
        if request.POST.get("then") == "test":
            page = reverse("accounts:trial", args=[request.tenant.slug])
            return redirect(f"{page}?campaign={campaign.pk}")
        return redirect(campaign)
    who = Reach.of(campaign, timezone.now())
    leads = prospects.leads_of(campaign, who=who)
    context = {
        "campaign": campaign,
        "form": form,
        "templates": request.tenant.templates.filter(archived_at=None).order_by("name")[
            :TEMPLATES_MAX
        ],
        "few": TEMPLATES_FEW,
        "fills": sampling.fills(leads),
        **preview_of(str(form["text"].value() or ""), leads),
        **_pace(request, who, form),
    }
    return render_page(request, "campaigns/content.html", context)


def _template_body(request: TenantRequest) -> str:
    """The text of the template that was picked, by its button or in the list; "" if none was."""
    number = request.POST["use"] or request.POST.get("template", "")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        return ""
    template = request.tenant.templates.filter(pk=number).first()
    return template.body if template else ""


@requires("campaigns.edit")
@require_POST
def campaign_preview(request: TenantRequest, pk: int) -> HttpResponse:
    """What the text in the form would say to the audience, and how fast. Stores nothing."""
    campaign = one_of(request, pk)
    form = ContentForm(request.POST, tenant=request.tenant)
    context: dict[str, Any] = {"campaign": campaign, "form": form}
    if request.htmx.target == "pace":
        context |= _pace(request, Reach.of(campaign, timezone.now()), form)
    else:
        context |= preview_of(request.POST.get("text", ""), prospects.leads_of(campaign))
    return render_page(request, "campaigns/content.html", context, parts=["preview", "pace"])


def preview_of(text: str, leads: list[Lead]) -> dict[str, Any]:
    """The text for three people, and how many lack what it needs."""
    context: dict[str, Any] = {"total": len(leads), "samples": [], "lacking": [], "problem": ""}
    if not text.strip():
        return context
    try:
        context["samples"], lacking = sampling.shown(text, leads, count=PREVIEWS)
        context["lacking"] = list(lacking.items())
    except rendering.BadTemplate as error:
        context["problem"] = error.sentence
    return context


def _pace(request: TenantRequest, who: Reach, form: ContentForm) -> dict[str, Any]:
    """What the accounts in the form can send on a day, each with the limit that binds it."""
    campaign = who.campaign
    wanted = {str(value) for value in form["accounts"].value() or []}
    accounts = [
        account
        for account in request.tenant.sending_accounts.order_by("handle")
        if str(account.pk) in wanted and account.state == SendingAccount.State.ACTIVE
    ]
    hours = day_plan.hours_of(_window(form, campaign))
    parts = [(account, day_plan.of_account(facts.pace_of(account), hours)) for account in accounts]
    per_day = day_plan.together((part for _account, part in parts), _caps_of(request, campaign))
    people = who.total()
    return {
        "capacities": parts,
        "per_day": per_day,
        "people": people,
        "sending_days": day_plan.days_for(people, per_day),
    }


def _caps_of(request: TenantRequest, campaign: Campaign) -> list[int]:
    """The caps of a day above those of the accounts."""
    caps = (request.tenant.max_messages_day, campaign.day_cap)
    return [cap for cap in caps if cap is not None]


def _window(form: ContentForm, campaign: Campaign) -> dict[str, Any]:
    """The hours in the form if they make sense, else those that are stored."""
    window: dict[str, Any] = campaign.window
    if form.is_bound and not {"days", "opens", "closes"} & set(form.errors):
        window = form.window()
    return window
