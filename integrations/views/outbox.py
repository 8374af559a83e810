"""The sync log: what was and is to be written to the CRM, and another try."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from integrations import actions, telling
from integrations.forms import OutboxFilter
from integrations.models import Connection, ExternalId, SyncItem
from integrations.views.shared import ANYWHERE, ItemRow, done, frame
from tenants.http import TenantRequest, requires
from tenants.models import AuditEntry

State = SyncItem.State
MOVING = (State.WAITING, State.CLAIMED)
HISTORY = {
    "sync.retried": gettext_lazy("Tried again by a person"),
    "dead_letter.replayed": gettext_lazy("Replayed by a person"),
    "dead_letter.discarded": gettext_lazy("Discarded by a person"),
}
HISTORY_ROWS = 20


def rows_of(items: list[SyncItem], tenant_slug: str, now: datetime) -> list[ItemRow]:
    return [
        ItemRow(item, telling.record_url(item, tenant_slug), telling.next_try(item, now))
        for item in items
    ]


@requires("connections.view")
@require_safe
def outbox(request: TenantRequest) -> HttpResponse:
    """The entries, newest first; asked again every few seconds while some are on their way."""
    found = OutboxFilter(request.GET)
    everything = request.tenant.sync_items.all()
    tallies = dict(
        found.search(everything)
        .order_by()
        .values_list("state")
        .annotate(Count("pk"))
        .values_list("state", "pk__count")
    )
    page = paging.page(
        found.apply(everything).select_related("connection"),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    now = timezone.now()
    live = request.tenant.connections.filter(
        kind=Connection.Kind.GHL, state=Connection.State.ACTIVE
    )
    context: dict[str, Any] = {
        "filter": found,
        "tabs": [("", _("All"), sum(tallies.values()))]
        + [(str(s), str(s.label), tallies[s]) for s in State if tallies.get(s)],
        "page": page,
        "rows": rows_of(page.rows, request.tenant.slug, now),
        "failed": tallies.get(State.FAILED, 0),
        "any": any(tallies.values()) or everything.exists(),
        "moving": any(tallies.get(s) for s in MOVING) and live.exists(),
        **frame(request),
    }
    return render_page(request, "integrations/outbox.html", context, parts=["outbox"])


@requires("connections.view")
@require_safe
def item_detail(request: TenantRequest, pk: int) -> HttpResponse:
    """One entry: what is wanted and what is there, what went wrong, what a replay will do."""
    item = get_object_or_404(request.tenant.sync_items.select_related("connection"), pk=pk)
    known = ExternalId.objects.filter(connection=item.connection_id, key=item.key).first()
    entries = AuditEntry.objects.filter(
        object_type=item._meta.label_lower, object_id=item.pk
    ).order_by("-pk")[:HISTORY_ROWS]
    now = timezone.now()
    ended = item.state in (State.FAILED, State.DISCARDED)
    context = {
        "row": rows_of([item], request.tenant.slug, now)[0],
        "item": item,
        "lines": telling.lines(item),
        "known": known,
        "wished_at": telling.wished_at(item),
        "history": [(entry, HISTORY.get(entry.action, entry.action)) for entry in entries],
        "replay": telling.replay_does(item, known) if ended else [],
        "moving": item.state in MOVING and item.connection.state == Connection.State.ACTIVE,
        **frame(request),
    }
    return render_page(request, "integrations/item.html", context, parts=["item"])


@requires("sync.retry")
@require_POST
def item_retry(request: TenantRequest, pk: int) -> HttpResponse:
    item = get_object_or_404(request.tenant.sync_items, pk=pk)
    try:
        actions.retry_sync(item, by=request.user, now=timezone.now())
        messages.success(request, _("It is tried again within moments."))
    except Refused as error:
        messages.error(request, str(error))
    return done(request, reverse("integrations:item", args=[request.tenant.slug, pk]))


@requires("sync.retry")
@require_http_methods(["GET", "HEAD", "POST"])
def retry_all(request: TenantRequest) -> HttpResponse:
    """Try the failed entries of the filter again, at most `actions.BULK_MOST` of them."""
    found = OutboxFilter(request.GET)
    back = reverse("integrations:outbox", args=[request.tenant.slug])
    return retry_of(request, found.search(actions.dead(request.tenant)), back)


def retry_of(request: TenantRequest, failed: QuerySet[SyncItem], back: str) -> HttpResponse:
    """Ask before a bulk retry, then do it."""
    if request.method != "POST":
        return ask(request, _retry_question(failed.count(), back))
    number = actions.retry_many(request.tenant, failed, by=request.user, now=timezone.now())
    words = ngettext("%(n)s entry is tried again.", "%(n)s entries are tried again.", number)
    messages.success(request, words % {"n": intcomma(number)})
    return done(request, back)


def _retry_question(number: int, back: str) -> Question:
    points = [
        _("Each is delivered as its record is wanted now, with all its attempts."),
        _("No message is sent to anybody."),
    ]
    if number > actions.BULK_MOST:
        points.append(
            _("At most %(n)s at a time: repeat it for the rest.")
            % {"n": intcomma(actions.BULK_MOST)}
        )
    title = ngettext("Try %(n)s failed entry again?", "Try %(n)s failed entries again?", number) % {
        "n": intcomma(number)
    }
    return Question(title, _("Try again"), tuple(points), back, "refresh", target=ANYWHERE)
