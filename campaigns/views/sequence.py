"""The sequence tab: the texts with their versions, and another text while the campaign runs."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from campaigns import prospects, sampling, versions
from campaigns.forms import TextForm
from campaigns.models import Campaign, Step
from campaigns.views.drafts import preview_of
from campaigns.views.panel import tab_page
from campaigns.views.shared import one_of
from tenants.http import TenantRequest, requires
from tenants.roles import can


@requires("campaigns.view")
@require_safe
def campaign_sequence(request: TenantRequest, pk: int) -> HttpResponse:
    """The texts, newest version first: what changed, and what became of each one's messages."""
    campaign = one_of(request, pk)
    may_read = can(request.membership, "messages.view_text")
    found = versions.versions_of(campaign, with_text=may_read)
    may_change = campaign.state in versions.EDITABLE
    context = {
        "versions": [(each, _unwritten(campaign, each) if may_change else 0) for each in found],
        "may_read": may_read,
        "may_change": may_change,
    }
    return tab_page(request, campaign, "sequence", context)


def _unwritten(campaign: Campaign, version: versions.Version) -> int:
    """How many could move to this version: asked only of the newest of several."""
    if not version.is_newest or version.step.version == 1:
        return 0
    return versions.unwritten(campaign, version.step).count()


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_text(request: TenantRequest, pk: int, number: int) -> HttpResponse:
    """Another text for a step of a campaign that has started, with the choice who gets it."""
    campaign = one_of(request, pk)
    step = _newest(campaign, number)
    if campaign.state not in versions.EDITABLE:
        return redirect("campaigns:sequence", request.tenant.slug, campaign.pk)
    next_one = Step(number=number, version=step.version + 1)
    waiting = versions.unwritten(campaign, next_one).count()
    form = TextForm(request.POST or None, initial={"text": step.body}, waiting=waiting)
    if request.method == "POST" and form.is_valid():
        try:
            moved = versions.change_text(
                campaign, number, **form.saved(), by=request.user, now=timezone.now()
            )
        except Refused as error:
            form.add_error("text", str(error))
        else:
            messages.success(request, " ".join([_("The new version is saved."), _moved(moved)]))
            return redirect("campaigns:sequence", request.tenant.slug, campaign.pk)
    leads = prospects.leads_of(campaign)
    context = {
        "campaign": campaign,
        "step": step,
        "form": form,
        "fills": sampling.fills(leads),
        **preview_of(str(form["text"].value() or ""), leads),
    }
    return render_page(request, "campaigns/text.html", context)


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_move(request: TenantRequest, pk: int, number: int) -> HttpResponse:
    """Give the newest version to those who were not written to yet, after asking."""
    campaign = one_of(request, pk)
    step = _newest(campaign, number)
    waiting = versions.unwritten(campaign, step).count()
    point = ngettext(
        "%(n)s person who has not been written to yet gets version %(version)s.",
        "%(n)s people who have not been written to yet get version %(version)s.",
        waiting,
    ) % {"n": intcomma(waiting), "version": step.version}
    question = Question(
        _("Move them to the new text?"),
        _("Move"),
        (point, _("Whoever was written to, or is being written to now, keeps the text they have.")),
        campaign.get_absolute_url(),
        "message",
        target="#toasts",
    )
    if request.method != "POST":
        return ask(request, question)

    try:
        moved = versions.move_people(campaign, number, by=request.user, now=timezone.now())
        messages.success(request, _moved(moved))
    except Refused as error:
        messages.error(request, str(error))
    back = reverse("campaigns:sequence", args=[request.tenant.slug, campaign.pk])
    # The texts are no live part, so htmx loads the page anew too.
    return HttpResponseClientRedirect(back) if request.htmx else redirect(back)


def _newest(campaign: Campaign, number: int) -> Step:
    step = campaign.steps.filter(number=number).order_by("-version").first()
    if step is None:
        raise Http404
    return step


def _moved(count: int) -> str:
    if not count:
        return _("Nobody gets it yet.")
    return ngettext("%(n)s person gets it.", "%(n)s people get it.", count) % {"n": intcomma(count)}
