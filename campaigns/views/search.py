"""Go anywhere: what ⌘K finds, as the list of the palette or as a page of its own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from campaigns.models import Campaign
from tenants.context import places
from tenants.http import TenantRequest, requires
from tenants.roles import can
from tenants.templatetags.shell import tenants_of

FOUND_MOST = 6  # of each kind
CAMPAIGNS_MOST = 500  # the newest, which are looked through
WORDS_LEAST = 2  # shorter words would find everybody
WORDS_MOST = 100


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to choose: an address to go to, or (with `form`) a value to send."""

    label: str
    icon: str
    href: str = ""
    note: str = ""
    form: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Options under one heading; `first` is the number of the first one in the whole list."""

    title: str
    options: list[Option]
    first: int


@requires("tenant.view")
@require_safe
def search(request: TenantRequest) -> HttpResponse:
    """What matches `q`, grouped; without it, the places and acts there are."""
    # PostgreSQL knows no text with a NUL in it.
    words = " ".join(request.GET.get("q", "").replace("\x00", "").split())[:WORDS_MOST]
    groups: list[Group] = []
    number = 0
    for title, options in _found(request, words):
        if options:
            groups.append(Group(title, options, number))
            number += len(options)
    context = {"groups": groups, "words": words, "number": number}
    return render_page(request, "search.html", context, parts=["palette-results"])


def _found(request: TenantRequest, words: str) -> Iterator[tuple[str, list[Option]]]:
    yield _("Go to"), _matching(words, _places(request))
    if len(words) >= WORDS_LEAST:
        yield _("Campaigns"), _campaigns(request, words)
        yield _("Leads"), _leads(request, words)
    yield _("Do"), _matching(words, _acts(request))
    yield _("Workspaces"), _matching(words, _workspaces(request))
    yield _("Look"), _matching(words, _looks())


def _plain(text: str) -> str:
    """Lower case without accents, so that "inicio" finds "Início"."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _matching(words: str, options: list[Option]) -> list[Option]:
    """The options whose label has every word."""
    wanted = _plain(words).split()
    return [o for o in options if all(word in _plain(f"{o.label} {o.note}") for word in wanted)]


def _places(request: TenantRequest) -> list[Option]:
    return [
        Option(str(place.label), place.icon, place.href(request.tenant))
        for place in places(request.membership)
    ]


def _acts(request: TenantRequest) -> list[Option]:
    acts = (
        ("campaigns.edit", _("New campaign"), "plus", "campaigns:create"),
        ("leads.import", _("Import leads"), "file-import", "leads:imports"),
        ("tenant.stop", _("Stop all sending"), "hand-stop", "tenant-stop"),
    )
    return [
        Option(label, icon, reverse(route, args=[request.tenant.slug]))
        for right, label, icon, route in acts
        if can(request.membership, right)
    ]


def _campaigns(request: TenantRequest, words: str) -> list[Option]:
    """The newest whose name has every word; they are few enough to be compared without accents."""
    rows = request.tenant.campaigns.order_by("-pk").values_list("pk", "name", "state")
    slug = request.tenant.slug
    options = [
        Option(
            name,
            "speakerphone",
            reverse("campaigns:detail", args=[slug, pk]),
            str(Campaign.State(state).label),
        )
        for pk, name, state in rows[:CAMPAIGNS_MOST]
    ]
    return _matching(words, options)[:FOUND_MOST]


def _leads(request: TenantRequest, words: str) -> list[Option]:
    by_handle = Q(handle__icontains=words.lstrip("@")) if words.lstrip("@") else Q()
    found = request.tenant.leads.filter(by_handle | Q(name__icontains=words))
    slug = request.tenant.slug
    return [
        Option(f"@{handle}", "user", reverse("leads:detail", args=[slug, pk]), name)
        for pk, handle, name in found.order_by("handle").values_list("pk", "handle", "name")[
            :FOUND_MOST
        ]
    ]


def _workspaces(request: TenantRequest) -> list[Option]:
    others = [tenant for tenant in tenants_of(request.user.pk) if tenant.pk != request.tenant.pk]
    note = _("Switch workspace")
    return [Option(t.name, "switch-horizontal", t.get_absolute_url(), note) for t in others]


def _looks() -> list[Option]:
    theme, language = _("Theme"), _("Language")
    return [
        Option(_("Light"), "sun", note=theme, form="theme", value="light"),
        Option(_("Dark"), "moon", note=theme, form="theme", value="dark"),
        Option(_("System"), "device-desktop", note=theme, form="theme", value=""),
        Option("English", "language", note=language, form="language", value="en"),
        Option("Português", "language", note=language, form="language", value="pt-br"),
    ]
