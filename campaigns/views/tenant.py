"""The stop of all of a tenant's sending, and its end."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRefresh

from agenticos.questions import Question, ask
from campaigns import actions
from campaigns.models import Campaign
from campaigns.views.shared import in_flight
from tenants.http import TenantRequest, requires


@requires("tenant.stop")
@require_http_methods(["GET", "HEAD", "POST"])
def tenant_stop(request: TenantRequest) -> HttpResponse:
    """The big red button: nothing of this tenant leaves until the stop is lifted."""
    tenant = request.tenant
    if request.method != "POST":
        running = tenant.campaigns.filter(state=Campaign.State.RUNNING)
        sums = running.aggregate(queued=Sum("counts__queued"), claimed=Sum("counts__claimed"))
        queued, claimed = sums["queued"] or 0, sums["claimed"] or 0
        campaigns = running.count()
        points = [
            ngettext(
                "%(n)s running campaign of %(tenant)s is held.",
                "%(n)s running campaigns of %(tenant)s are held.",
                campaigns,
            )
            % {"n": intcomma(campaigns), "tenant": tenant.name},
            ngettext(
                "%(n)s queued message waits; it keeps its place.",
                "%(n)s queued messages wait; they keep their places.",
                queued,
            )
            % {"n": intcomma(queued)},
        ]
        if claimed:
            points.append(in_flight(claimed))
        points.append(_("Replies and the CRM go on. The stop lasts until somebody lifts it."))
        question = Question(
            title=_("Stop all sending of %(tenant)s?") % {"tenant": tenant.name},
            yes=_("Stop all sending"),
            points=tuple(points),
            back=tenant.get_absolute_url(),
            icon="hand-stop",
            danger=True,
            target="#dialog-body",
        )
        return ask(request, question)
    flying = actions.stop_tenant(tenant, by=request.user, now=timezone.now())
    messages.warning(request, _("All sending is stopped."))
    if flying:
        messages.warning(request, in_flight(flying))
    return HttpResponseClientRefresh() if request.htmx else redirect(tenant)


@requires("campaigns.resume")
@require_http_methods(["GET", "HEAD", "POST"])
def tenant_lift(request: TenantRequest) -> HttpResponse:
    tenant = request.tenant
    if request.method != "POST":
        points = (
            _("Running campaigns go on at their normal pace, never in a burst."),
            _("Paused and blocked campaigns stay as they are."),
        )
        question = Question(
            title=_("Lift the stop of %(tenant)s?") % {"tenant": tenant.name},
            yes=_("Lift the stop"),
            points=points,
            back=tenant.get_absolute_url(),
            icon="lock-open",
            target="#dialog-body",
        )
        return ask(request, question)
    actions.lift_tenant_stop(tenant, by=request.user, now=timezone.now())
    messages.success(request, _("The stop is lifted."))
    return HttpResponseClientRefresh() if request.htmx else redirect(tenant)
