"""The launch: who, what, when, from whom and who is left out; each number leads to its people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import reswap, retarget

from agenticos import paging
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from campaigns import actions, diagnosis, planning, reach
from campaigns.codes import Code, sentence
from campaigns.forms import StartForm
from campaigns.models import Campaign
from campaigns.reach import AudienceSummary, Reach
from campaigns.templatetags.campaign_ui import start_words
from campaigns.views.shared import dialog, done, one_of
from leads.models import Band
from tenants.http import TenantRequest, requires
from tenants.roles import can

CONFIRM_ABOVE = 500
UNSCORED_SHOWN = 200
WORDS = {
    reach.BEYOND: gettext_lazy("They fit, but the campaign's limit is reached before them."),
    reach.ELSEWHERE: gettext_lazy(
        "They also wait in another campaign: whichever writes first reaches them, the other skips."
    ),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the dialog, what it says, and the list of exactly those people."""

    count: int
    words: str
    url: str


@requires("campaigns.launch")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_start(request: TenantRequest, pk: int) -> HttpResponse:
    """The launch card, and the start itself; above 500 people their number has to be typed."""
    campaign = one_of(request, pk)
    if request.method != "POST":
        return _launch(request, campaign, StartForm(initial={"at": campaign.starts_at}))
    total = Reach.of(campaign, timezone.now()).total()
    form = StartForm(request.POST)
    if total > CONFIRM_ABOVE and request.POST.get("confirm", "").strip() != str(total):
        problem = _("Type %(total)s, the number of people, to confirm.") % {"total": total}
        return _asked_again(request, campaign, form, problem)
    if not form.is_valid():
        return _asked_again(request, campaign, form, _("Choose when it shall start."))

    def act(campaign: Campaign, now: datetime) -> str:
        if at := form.chosen:
            actions.schedule_campaign(campaign, at, by=request.user, now=now)
            return _("“%(name)s” starts by itself: %(at)s.") % {
                "name": campaign.name,
                "at": start_words(at),
            }
        actions.start_campaign(campaign, by=request.user, now=now)
        return _("“%(name)s” has started.") % {"name": campaign.name}

    return done(request, campaign, act)


@requires("campaigns.launch")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_unschedule(request: TenantRequest, pk: int) -> HttpResponse:
    """Take a scheduled start back, after asking."""
    campaign = one_of(request, pk)
    question = Question(
        _("Take back the scheduled start of “%(name)s”?") % {"name": campaign.name},
        _("Take it back"),
        (_("It is a draft again, and nothing is sent until somebody starts it."),),
        campaign.get_absolute_url(),
        "calendar-time",
        target="#toasts",
    )
    if request.method != "POST":
        return ask(request, question)

    def act(campaign: Campaign, now: datetime) -> str:
        actions.unschedule_campaign(campaign, by=request.user, now=now)
        return _("“%(name)s” is a draft again.") % {"name": campaign.name}

    return done(request, campaign, act)


def _asked_again(
    request: TenantRequest, campaign: Campaign, form: StartForm, problem: str
) -> HttpResponse:
    response = _launch(request, campaign, form, problem)
    return retarget(reswap(response, "innerHTML"), "#dialog-body") if request.htmx else response


def _launch(
    request: TenantRequest, campaign: Campaign, form: StartForm, problem: str = ""
) -> HttpResponse:
    now = timezone.now()
    who = Reach.of(campaign, now)
    summary = who.summary()
    found = planning.forecast_for(campaign, now=now, messages=summary.total)
    may_read = can(request.membership, "messages.view_text")
    people = reverse("campaigns:launch-audience", args=[request.tenant.slug, campaign.pk])
    context = {
        "campaign": campaign,
        "action": reverse("campaigns:start", args=[request.tenant.slug, campaign.pk]),
        "people": people,
        "summary": summary,
        "bands": [
            (band, band.label, count) for band in Band if (count := summary.by_band.get(band, 0))
        ],
        "left_out": _figures(people, summary.left_out),
        "no_match": _figures(people, summary.no_match),
        "beyond": _figures(people, {reach.BEYOND: summary.beyond}),
        # How many is counted while the dialog is being read: over all leads, it takes longest.
        "others_wait": WORDS[reach.ELSEWHERE] if who.others_wait() else "",
        "lacking": sorted(summary.lacking.items()),
        "previews": diagnosis.previews(campaign) if may_read and _has_rows(summary) else [],
        "may_read": may_read,
        "accounts": diagnosis.accounts_of(campaign, now),
        "planned": dict(found.plan.by_sender),
        "forecast": found,
        "confirm": summary.total > CONFIRM_ABOVE,
        "problem": problem,
        "form": form,
    }
    return dialog(request, "campaigns/launch.html", context)


def _has_rows(summary: AudienceSummary) -> bool:
    return bool(summary.total or summary.lacking)


def _figures(people: str, counts: dict[str, int]) -> list[Figure]:
    """The numbers that are not 0, each with its list."""
    return [
        Figure(count, _words(code), f"{people}?reason={code}")
        for code, count in counts.items()
        if count
    ]


def _words(reason: str) -> str:
    if reason in WORDS:
        return str(WORDS[reason])
    return sentence(reason) if reason else _("They get the message, as things stand.")


@requires("campaigns.launch")
@require_safe
def launch_audience(request: TenantRequest, pk: int) -> HttpResponse:
    """The people behind one number of the launch dialog, best first."""
    campaign = one_of(request, pk)
    if campaign.state not in planning.BEFORE_START:
        return redirect(campaign)
    reason, band = request.GET.get("reason", ""), request.GET.get("band", "")
    lacks = request.GET.get("lacks", "") if reason == Code.MISSING_VARIABLE else ""
    if reason not in (*Code, *WORDS):
        reason = ""
    if band not in Band.values:
        band = ""
    asked = Reach.of(campaign, timezone.now())
    if request.htmx.target == "elsewhere":
        people = reverse("campaigns:launch-audience", args=[request.tenant.slug, campaign.pk])
        figures = _figures(people, {reach.ELSEWHERE: asked.elsewhere()})
        return render(request, "campaigns/_elsewhere.html", {"figures": figures})
    page = paging.page(
        asked.scores(reason=reason, band=band, lacks=lacks),
        ("-total", "lead_id"),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    unscored = [] if page.previous else asked.unscored(reason, band)
    context: dict[str, Any] = {
        "campaign": campaign,
        "page": page,
        "unscored": unscored[:UNSCORED_SHOWN],
        "words": _words(reason),
        "band": Band(band) if band else None,
        "lacks": lacks,
    }
    return render_page(request, "campaigns/launch_audience.html", context, parts=["people"])
