"""Acts on a campaign and its messages: the question that each one asks first, then the deed."""

from __future__ import annotations

from datetime import datetime

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import reswap, retarget

from agenticos.questions import Question, ask
from campaigns import actions
from campaigns.forms import ResolveForm
from campaigns.models import Campaign, Message
from campaigns.views.shared import Act, counts_of, dialog, done, in_flight, ledger_url, one_of
from tenants.http import TenantRequest, requires
from tenants.roles import can

# More rows than a page shows are never chosen by hand.
CHOSEN_MAX = 500


def _asked(
    request: TenantRequest, campaign: Campaign, question: Question, act: Act, *, back: str = ""
) -> HttpResponse:
    """The question first; the deed when it was answered."""
    if request.method != "POST":
        return ask(request, question)
    return done(request, campaign, act, back=back)


def _question(
    campaign: Campaign, title: str, yes: str, points: list[str], icon: str, *, danger: bool = False
) -> Question:
    """A question about a campaign. Its answer is a toast; live parts hear of it by an event."""
    back = campaign.get_absolute_url()
    return Question(title, yes, tuple(points), back, icon, danger, target="#toasts")


def _open_counts(campaign: Campaign) -> tuple[int, int]:
    counts = counts_of(campaign)
    return (counts.queued, counts.claimed) if counts else (0, 0)


@requires("campaigns.control")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_pause(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = one_of(request, pk)
    queued, claimed = _open_counts(campaign)
    points = [
        ngettext(
            "%(n)s queued message waits until you resume; it keeps its place.",
            "%(n)s queued messages wait until you resume; they keep their places.",
            queued,
        )
        % {"n": intcomma(queued)},
        *([in_flight(claimed)] if claimed else []),
    ]
    title = _("Pause “%(name)s”?") % {"name": campaign.name}

    def act(campaign: Campaign, now: datetime) -> str:
        flying = actions.pause_campaign(campaign, by=request.user, now=now)
        return " ".join([_("Paused."), in_flight(flying)]) if flying else _("Paused.")

    question = _question(campaign, title, _("Pause"), points, "player-pause")
    return _asked(request, campaign, question, act)


@requires("campaigns.resume")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_resume(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = one_of(request, pk)
    queued, _claimed = _open_counts(campaign)
    point = ngettext(
        "%(n)s queued message goes out at the normal pace, never in a burst.",
        "%(n)s queued messages go out at the normal pace, never in a burst.",
        queued,
    ) % {"n": intcomma(queued)}
    title = _("Resume “%(name)s”?") % {"name": campaign.name}

    def act(campaign: Campaign, now: datetime) -> str:
        actions.resume_campaign(campaign, by=request.user, now=now)
        return _("“%(name)s” goes on.") % {"name": campaign.name}

    question = _question(campaign, title, _("Resume"), [point], "player-play")
    return _asked(request, campaign, question, act)


@requires("campaigns.control")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_stop(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = one_of(request, pk)
    queued, claimed = _open_counts(campaign)
    points = [
        ngettext(
            "%(n)s queued message is dropped and never sent.",
            "%(n)s queued messages are dropped and never sent.",
            queued,
        )
        % {"n": intcomma(queued)},
        *([in_flight(claimed)] if claimed else []),
        _("This is final: the campaign cannot be resumed. To wait, pause it."),
    ]
    title = _("Stop “%(name)s” for good?") % {"name": campaign.name}

    def act(campaign: Campaign, now: datetime) -> str:
        flying = actions.stop_campaign(campaign, by=request.user, now=now)
        return " ".join([_("Stopped."), in_flight(flying)]) if flying else _("Stopped.")

    question = _question(campaign, title, _("Stop for good"), points, "player-stop", danger=True)
    return _asked(request, campaign, question, act)


# --- Messages ---------------------------------------------------------------------------------


def _chosen(request: TenantRequest) -> list[int] | None:
    """The rows ticked in the table, or None for an act on all of them."""
    if "ids" not in request.GET:
        return None
    words = ",".join(request.GET.getlist("ids")).split(",")[:CHOSEN_MAX]
    return [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19]


@requires("messages.resolve")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_retry(request: TenantRequest, pk: int) -> HttpResponse:
    """Queue failed messages again, all or the chosen: safe, the provider had refused them."""
    campaign = one_of(request, pk)
    chosen = _chosen(request)
    found = campaign.messages.filter(state=Message.State.FAILED)
    failed = (found if chosen is None else found.filter(pk__in=chosen)).count()
    point = ngettext(
        "%(n)s failed message is queued again. The provider refused it, so nobody gets it twice.",
        "%(n)s failed messages are queued again. The provider refused them, so nobody gets one "
        "twice.",
        failed,
    ) % {"n": intcomma(failed)}

    def act(campaign: Campaign, now: datetime) -> str:
        count = actions.retry_failed(campaign, only=chosen, by=request.user, now=now)
        return ngettext(
            "%(n)s message is queued again.", "%(n)s messages are queued again.", count
        ) % {"n": intcomma(count)}

    title = _("Try the failed messages again?")
    question = _question(campaign, title, _("Try again"), [point], "refresh")
    return _asked(request, campaign, question, act, back=ledger_url(campaign, "failed"))


@requires("messages.resolve")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_skip(request: TenantRequest, pk: int) -> HttpResponse:
    """Leave out the chosen people: what is queued for them is never sent."""
    campaign = one_of(request, pk)
    chosen = _chosen(request) or []
    queued = campaign.messages.filter(state=Message.State.QUEUED, pk__in=chosen).count()
    points = [
        ngettext(
            "%(n)s queued message is never sent.", "%(n)s queued messages are never sent.", queued
        )
        % {"n": intcomma(queued)},
        _("They count as skipped. Other campaigns may still write to these people."),
    ]

    def act(campaign: Campaign, now: datetime) -> str:
        count = actions.skip_messages(campaign, only=chosen, by=request.user, now=now)
        return ngettext("%(n)s message is skipped.", "%(n)s messages are skipped.", count) % {
            "n": intcomma(count)
        }

    question = _question(
        campaign,
        _("Leave these people out?"),
        _("Skip"),
        points,
        "player-skip-forward",
        danger=True,
    )
    return _asked(request, campaign, question, act, back=ledger_url(campaign, "queued"))


@requires("messages.resolve")
@require_POST
def message_retry(request: TenantRequest, pk: int, message: int) -> HttpResponse:
    campaign = one_of(request, pk)
    row = get_object_or_404(campaign.messages, pk=message)

    def act(campaign: Campaign, now: datetime) -> str:
        actions.retry_message(row, by=request.user, now=now)
        return _("The message is queued again.")

    return done(request, campaign, act, back=ledger_url(campaign, "failed"))


@requires("messages.resolve")
@require_http_methods(["GET", "HEAD", "POST"])
def message_resolve(request: TenantRequest, pk: int, message: int) -> HttpResponse:
    """Ask what became of a message that may or may not have reached the person, and note it."""
    campaign = one_of(request, pk)
    row = get_object_or_404(campaign.messages.select_related("lead", "account"), pk=message)
    form = ResolveForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        context = {
            "campaign": campaign,
            "message": row,
            "action": request.path,
            "back": ledger_url(campaign, "unknown"),
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

    return done(request, campaign, act, back=ledger_url(campaign, "unknown"))
