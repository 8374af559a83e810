"""Acts on a campaign and its messages: the question that each one asks first, then the deed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import reswap, retarget, trigger_client_event

from agenticos.errors import Refused
from agenticos.questions import Question, ask
from campaigns import actions, codes, diagnosis
from campaigns.forms import CampaignForm, ResolveForm
from campaigns.models import Campaign
from campaigns.views.panel import live_part
from campaigns.views.shared import counts_of, dialog, in_flight
from leads.models import Band
from tenants.http import TenantRequest, requires
from tenants.roles import can

CONFIRM_ABOVE = 500


def _act(
    request: TenantRequest, campaign: Campaign, act: Callable[[Campaign, datetime], str]
) -> HttpResponse:
    """Do it, say what happened, and answer with the panel or a redirect."""
    try:
        messages.success(request, act(campaign, timezone.now()))
    except Refused as error:
        messages.error(request, str(error))
    if not request.htmx:
        return redirect(campaign)
    if request.htmx.target not in ("panel", "rows"):
        return retarget(reswap(_again(request, campaign), "outerHTML"), "#panel")
    return _again(request, campaign)


def _again(request: TenantRequest, campaign: Campaign) -> HttpResponse:
    return trigger_client_event(live_part(request, campaign.pk), "campaign-changed")


def _open_counts(campaign: Campaign) -> tuple[int, int]:
    counts = counts_of(campaign)
    return (counts.queued, counts.claimed) if counts else (0, 0)


def _one(request: TenantRequest, pk: int) -> Campaign:
    return get_object_or_404(request.tenant.campaigns.select_related("counts", "tenant"), pk=pk)


@requires("campaigns.launch")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_start(request: TenantRequest, pk: int) -> HttpResponse:
    """The launch card, and the start itself; above 500 people their number has to be typed."""
    campaign = _one(request, pk)
    if request.method != "POST":
        return _launch(request, campaign)
    total = diagnosis.audience_summary(campaign).total
    if total > CONFIRM_ABOVE and request.POST.get("confirm", "").strip() != str(total):
        problem = _("Type %(total)s, the number of people, to confirm.") % {"total": total}
        response = _launch(request, campaign, problem)
        return retarget(reswap(response, "innerHTML"), "#dialog-body") if request.htmx else response

    def act(campaign: Campaign, now: datetime) -> str:
        actions.start_campaign(campaign, by=request.user, now=now)
        return _("“%(name)s” has started.") % {"name": campaign.name}

    return _act(request, campaign, act)


def _launch(request: TenantRequest, campaign: Campaign, problem: str = "") -> HttpResponse:
    summary = diagnosis.audience_summary(campaign)
    may_read = can(request.membership, "messages.view_text")
    context = {
        "campaign": campaign,
        "action": reverse("campaigns:start", args=[request.tenant.slug, campaign.pk]),
        "summary": summary,
        "bands": [(band, band.label, summary.by_band.get(band, 0)) for band in Band],
        "left_out": [
            (code, codes.sentence(code), count) for code, count in summary.left_out.items() if count
        ],
        "previews": diagnosis.previews(campaign) if may_read and summary.total else [],
        "may_read": may_read,
        "accounts": diagnosis.accounts_of(campaign, timezone.now()),
        "days": CampaignForm.base_fields["days"].choices,  # type: ignore[attr-defined]
        "confirm": summary.total > CONFIRM_ABOVE,
        "problem": problem,
    }
    return dialog(request, "campaigns/launch.html", context)


@requires("campaigns.control")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_pause(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = _one(request, pk)
    queued, claimed = _open_counts(campaign)
    if request.method != "POST":
        points = [
            ngettext(
                "%(n)s queued message waits until you resume; it keeps its place.",
                "%(n)s queued messages wait until you resume; they keep their places.",
                queued,
            )
            % {"n": intcomma(queued)}
        ]
        if claimed:
            points.append(in_flight(claimed))
        return ask(
            request,
            Question(
                title=_("Pause “%(name)s”?") % {"name": campaign.name},
                yes=_("Pause"),
                points=tuple(points),
                back=campaign.get_absolute_url(),
                icon="player-pause",
            ),
        )

    def act(campaign: Campaign, now: datetime) -> str:
        flying = actions.pause_campaign(campaign, by=request.user, now=now)
        return " ".join([_("Paused."), in_flight(flying)]) if flying else _("Paused.")

    return _act(request, campaign, act)


@requires("campaigns.resume")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_resume(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = _one(request, pk)
    if request.method != "POST":
        queued, _claimed = _open_counts(campaign)
        point = ngettext(
            "%(n)s queued message goes out at the normal pace, never in a burst.",
            "%(n)s queued messages go out at the normal pace, never in a burst.",
            queued,
        ) % {"n": intcomma(queued)}
        title = _("Resume “%(name)s”?") % {"name": campaign.name}
        back = campaign.get_absolute_url()
        return ask(request, Question(title, _("Resume"), (point,), back, "player-play"))

    def act(campaign: Campaign, now: datetime) -> str:
        actions.resume_campaign(campaign, by=request.user, now=now)
        return _("“%(name)s” goes on.") % {"name": campaign.name}

    return _act(request, campaign, act)


@requires("campaigns.control")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_stop(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = _one(request, pk)
    if request.method != "POST":
        queued, claimed = _open_counts(campaign)
        points = [
            ngettext(
                "%(n)s queued message is dropped and never sent.",
                "%(n)s queued messages are dropped and never sent.",
                queued,
            )
            % {"n": intcomma(queued)}
        ]
        if claimed:
            points.append(in_flight(claimed))
        points.append(_("This is final: the campaign cannot be resumed. To wait, pause it."))
        title = _("Stop “%(name)s” for good?") % {"name": campaign.name}
        back = campaign.get_absolute_url()
        question = Question(
            title, _("Stop for good"), tuple(points), back, "player-stop", danger=True
        )
        return ask(request, question)

    def act(campaign: Campaign, now: datetime) -> str:
        flying = actions.stop_campaign(campaign, by=request.user, now=now)
        return " ".join([_("Stopped."), in_flight(flying)]) if flying else _("Stopped.")

    return _act(request, campaign, act)


@requires("messages.resolve")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_retry(request: TenantRequest, pk: int) -> HttpResponse:
    """Queue all failed messages of a campaign again: safe, the provider had refused them."""
    campaign = _one(request, pk)
    if request.method != "POST":
        counts = counts_of(campaign)
        failed = counts.failed if counts else 0
        point = ngettext(
            "%(n)s failed message is queued again. The provider refused it, so nobody gets it "
            "twice.",
            "%(n)s failed messages are queued again. The provider refused them, so nobody gets one "
            "twice.",
            failed,
        ) % {"n": intcomma(failed)}
        title = _("Try the failed messages again?")
        back = campaign.get_absolute_url()
        return ask(request, Question(title, _("Try again"), (point,), back, "refresh"))

    def act(campaign: Campaign, now: datetime) -> str:
        count = actions.retry_failed(campaign, by=request.user, now=now)
        return ngettext(
            "%(n)s message is queued again.", "%(n)s messages are queued again.", count
        ) % {"n": intcomma(count)}

    return _act(request, campaign, act)


@requires("messages.resolve")
@require_POST
def message_retry(request: TenantRequest, pk: int, message: int) -> HttpResponse:
    campaign = _one(request, pk)
    row = get_object_or_404(campaign.messages, pk=message)

    def act(campaign: Campaign, now: datetime) -> str:
        actions.retry_message(row, by=request.user, now=now)
        return _("The message is queued again.")

    return _act(request, campaign, act)


@requires("messages.resolve")
@require_http_methods(["GET", "HEAD", "POST"])
def message_resolve(request: TenantRequest, pk: int, message: int) -> HttpResponse:
    """Ask what became of a message that may or may not have reached the person, and note it."""
    campaign = _one(request, pk)
    row = get_object_or_404(campaign.messages.select_related("lead", "account"), pk=message)
    form = ResolveForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        context = {
            "campaign": campaign,
            "message": row,
            "action": request.path,
            "problem": _("Choose one of the three.") if request.method == "POST" else "",
            "text": row.text if can(request.membership, "messages.view_text") else "",
        }
        response = dialog(request, "campaigns/resolve.html", context)
        if request.htmx and request.method == "POST":
            return retarget(reswap(response, "innerHTML"), "#dialog-body")
        return response
    outcome = form.cleaned_data["outcome"]

    def act(campaign: Campaign, now: datetime) -> str:
        actions.resolve_message(row, outcome, by=request.user, now=now)
        return {
            "sent": _("Noted as sent."),
            "send_again": _("The message is queued again."),
            "skip": _("Noted: it will not be sent."),
        }[outcome]

    return _act(request, campaign, act)
