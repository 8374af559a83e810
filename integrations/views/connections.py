"""Connections: their state, their credentials, a test at the provider."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from integrations import connecting, delivery
from integrations.connecting import NotTaken
from integrations.forms import GhlForm, TokenForm
from integrations.models import Connection, SyncItem
from integrations.views.shared import ANYWHERE, done, frame
from tenants.http import TenantRequest, fresh, requires

GHL = Connection.Kind.GHL


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """One connection, its entries of the sync log by state, and the calls it may make now."""

    connection: Connection
    counts: dict[str, int]
    free: int | None  # None where no rate is kept
    most: int = delivery.BURST

    @property
    def open(self) -> int:
        return self.counts.get("waiting", 0) + self.counts.get("claimed", 0)

    @property
    def trouble(self) -> str:
        """What went wrong last, for somebody who may test it again."""
        line = self.connection
        return connecting.meaning(line.trouble_code, line.trouble_sentence)


@requires("connections.view")
@require_safe
def connection_list(request: TenantRequest) -> HttpResponse:
    """The connections; asked again every few seconds while something is being delivered."""
    now = timezone.now()
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    grouped = request.tenant.sync_items.order_by().values_list("connection", "state")
    for connection_id, state, number in grouped.annotate(Count("pk")):
        counts[connection_id][state] = number
    rows = [
        ConnectionRow(
            line,
            counts[line.pk],
            delivery.free_calls(line.throttle_at, now, rate=delivery.rate_of(line))
            if line.kind == GHL
            else None,
        )
        for line in request.tenant.connections.order_by("kind", "name", "pk")
    ]
    context: dict[str, Any] = {
        "rows": rows,
        "has_ghl": any(row.connection.kind == GHL for row in rows),
        "moving": any(row.open and row.connection.state == Connection.State.ACTIVE for row in rows),
        "n_dead": sum(found.get(SyncItem.State.FAILED, 0) for found in counts.values()),
    }
    return render_page(request, "integrations/list.html", context, parts=["connections"])


def _back(request: TenantRequest) -> str:
    return reverse("integrations:list", args=[request.tenant.slug])


def _ghl(request: TenantRequest, pk: int) -> Connection:
    """A CRM connection of the tenant; an Instagram account is kept on its own page."""
    return get_object_or_404(request.tenant.connections.filter(kind=GHL), pk=pk)


@requires("connections.manage")
@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def connection_add(request: TenantRequest) -> HttpResponse:
    """Connect a location of GoHighLevel: tried out first, stored only when it works."""
    form = GhlForm(request.POST or None)
    refused: NotTaken | None = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            known_as = connecting.try_out(GHL, values["external_id"], values["token"])
            connecting.add_connection(
                request.tenant,
                kind=GHL,
                known_as=known_as,
                by=request.user,
                now=timezone.now(),
                **values,
            )
            messages.success(
                request, _("Connected: GoHighLevel calls it “%(name)s”.") % {"name": known_as}
            )
            return redirect(_back(request))
        except NotTaken as error:
            refused = error
        except Refused as error:
            form.add_error("external_id", str(error))
    context = {"form": form, "refused": refused, **frame(request)}
    return render_page(request, "integrations/add.html", context)


@requires("connections.manage")
@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def connection_credential(request: TenantRequest, pk: int) -> HttpResponse:
    """Replace a location's token: tried out first; the old one stays until the new one works."""
    line = _ghl(request, pk)
    form = TokenForm(request.POST or None)
    refused: NotTaken | None = None
    if request.method == "POST" and form.is_valid():
        token = form.cleaned_data["token"]
        try:
            known_as = connecting.try_out(line.kind, line.external_id, token)
            now = timezone.now()
            connecting.replace_secret(line, token, known_as, by=request.user, now=now)
            messages.success(
                request,
                _("The new token works: GoHighLevel answers as “%(name)s”.") % {"name": known_as},
            )
            return redirect(_back(request))
        except NotTaken as error:
            refused = error
    context = {"connection": line, "form": form, "refused": refused, **frame(request)}
    return render_page(request, "integrations/credential.html", context)


@requires("connections.view")
@require_POST
def connection_test(request: TenantRequest, pk: int) -> HttpResponse:
    """Call the provider with the stored credential, and say what came of it."""
    line = _ghl(request, pk)
    try:
        name = connecting.probe(line, by=request.user, now=timezone.now())
        messages.success(
            request, _("It works: GoHighLevel answers as “%(name)s”.") % {"name": name}
        )
    except NotTaken as error:
        messages.error(request, str(error))
    return done(request, _back(request))


@requires("connections.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def connection_off(request: TenantRequest, pk: int) -> HttpResponse:
    line = _ghl(request, pk)
    if request.method != "POST":
        points = (
            _("Nothing more is written to this location; what is in flight is finished."),
            _("Entries that wait go on waiting until it is switched on."),
            _("Messages that are sent meanwhile are not noted for this location at all."),
        )
        title = _("Switch “%(name)s” off?") % {"name": line.name}
        question = Question(
            title,
            _("Switch off"),
            points,
            _back(request),
            "player-pause",
            danger=True,
            target=ANYWHERE,
        )
        return ask(request, question)
    return _switch(request, line, on=False)


@requires("connections.manage")
@require_POST
def connection_on(request: TenantRequest, pk: int) -> HttpResponse:
    return _switch(request, _ghl(request, pk), on=True)


def _switch(request: TenantRequest, line: Connection, *, on: bool) -> HttpResponse:
    try:
        connecting.switch(line, on=on, by=request.user, now=timezone.now())
        messages.success(request, _("The connection is on.") if on else _("The connection is off."))
    except Refused as error:
        messages.error(request, str(error))
    return done(request, _back(request))
