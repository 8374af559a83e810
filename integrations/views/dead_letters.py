"""Dead letters: entries that no worker tries again by itself, grouped by what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.db.models import Count, Max, Min
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from integrations import actions, telling
from integrations.forms import DiscardForm, OutboxFilter
from integrations.models import ExternalId
from integrations.views.outbox import retry_of, rows_of
from integrations.views.shared import ANYWHERE, decide, done, frame
from tenants.http import TenantRequest, requires

GROUPS_MOST = 50


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Dead letters with the same error: how many, since when, after how many attempts at most."""

    reason: str
    sentence: str
    count: int
    since: datetime | None
    attempts: int


@requires("connections.view")
@require_safe
def dead_list(request: TenantRequest) -> HttpResponse:
    """The error groups, largest first, and the letters of one or of all."""
    found = OutboxFilter(request.GET)
    dead = actions.dead(request.tenant)
    groups = [
        ErrorGroup(
            reason=row["reason"],
            sentence=gettext(row["words"]) if row["words"] else row["reason"],
            count=row["count"],
            since=row["since"],
            attempts=row["most"],
        )
        for row in dead.order_by()
        .values("reason")
        .annotate(
            words=Max("sentence"), count=Count("pk"), since=Min("due_at"), most=Max("attempts")
        )
        .order_by("-count", "reason")[:GROUPS_MOST]
    ]
    page = paging.page(
        found.search(dead).select_related("connection"),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    context = {
        "filter": found,
        "groups": groups,
        "chosen": next((g for g in groups if g.reason == found.reason), None),
        "page": page,
        "rows": rows_of(page.rows, request.tenant.slug, timezone.now()),
        **frame(request),
    }
    return render_page(request, "integrations/dead_letters.html", context, parts=["dead"])


def _back(request: TenantRequest) -> str:
    return reverse("integrations:dead-letters", args=[request.tenant.slug])


@requires("sync.retry")
@require_http_methods(["GET", "HEAD", "POST"])
def dead_replay(request: TenantRequest, pk: int) -> HttpResponse:
    """Ask, with all that a replay will do; then do it."""
    item = get_object_or_404(request.tenant.sync_items.select_related("connection"), pk=pk)
    back = reverse("integrations:item", args=[request.tenant.slug, pk])
    if request.method != "POST":
        known = ExternalId.objects.filter(connection=item.connection_id, key=item.key).first()
        title = _("Replay this dead letter?")
        points = tuple(telling.replay_does(item, known))
        question = Question(title, _("Replay"), points, back, "refresh", target=ANYWHERE)
        return ask(request, question)
    try:
        actions.replay_dead(item, by=request.user, now=timezone.now())
        messages.success(request, _("It is tried again within moments."))
    except Refused as error:
        messages.error(request, str(error))
    return done(request, back)


@requires("sync.retry")
@require_http_methods(["GET", "HEAD", "POST"])
def dead_discard(request: TenantRequest, pk: int) -> HttpResponse:
    item = get_object_or_404(request.tenant.sync_items, pk=pk)
    back = reverse("integrations:item", args=[request.tenant.slug, pk])
    form = DiscardForm(request.POST or None)
    if request.method == "POST":
        try:
            reason = form.cleaned_data["reason"] if form.is_valid() else ""
            actions.discard_dead(item, reason, by=request.user, now=timezone.now())
            messages.success(request, _("The dead letter is discarded."))
        except Refused as error:
            messages.error(request, str(error))
        return done(request, back)
    points = (
        _("The CRM does not hear of this change."),
        _("A later change of the same record is delivered all the same."),
        _("It stays in the sync log under “Discarded”, and can be replayed there."),
    )
    title = _("Discard this dead letter?")
    question = Question(title, _("Discard"), points, back, "trash", danger=True, target=ANYWHERE)
    return decide(request, question, form)


@requires("sync.retry")
@require_http_methods(["GET", "HEAD", "POST"])
def dead_replay_group(request: TenantRequest) -> HttpResponse:
    """Replay the dead letters of an error group, at most `actions.BULK_MOST` of them."""
    found = OutboxFilter(request.GET)
    dead = found.search(actions.dead(request.tenant))
    return retry_of(request, dead, _back(request))
