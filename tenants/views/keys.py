"""The API keys of a workspace: one's own, and for owners all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from tenants import api_keys, tokens
from tenants.authentication import SCOPE_TAKES
from tenants.forms_keys import SCOPE_NAMES, KeyForm, RotateForm
from tenants.http import TenantRequest, fresh, requires
from tenants.models import ApiKey
from tenants.roles import can

OVER_SHOWN = 50  # keys that are over, at most
# What a program may ask first, by the scope that it takes.
FIRST_CALLS = {
    "leads:read": "/api/v1/leads?limit=5",
    "campaigns:read": "/api/campaigns",
    "icp:read": "/api/v1/icp",
    "integrations:read": "/api/v1/sync-items",
    "admin": "/api/v1/leads?limit=5",
}


@dataclass(frozen=True, slots=True)
class ScopeChip:
    """A scope of a key; `idle` when the creator's present role has no use for it."""

    name: str
    meaning: str
    idle: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A key as the list shows it."""

    key: ApiKey
    scopes: list[ScopeChip]
    mine: bool
    in_force: bool

    @property
    def idle(self) -> bool:
        return any(chip.idle for chip in self.scopes)


@requires("keys.manage")
@require_safe
def key_list(request: TenantRequest) -> HttpResponse:
    """The keys that are in force, and below them those that are over."""
    now = timezone.now()
    rows = [_row(request, key, now) for key in api_keys.visible_keys(request.membership)]
    context = {
        "living": [row for row in rows if row.in_force],
        "over": [row for row in rows if not row.in_force][:OVER_SHOWN],
    }
    return render_page(request, "tenants/keys.html", context)


@requires("keys.manage")
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("text")
@fresh
def key_add(request: TenantRequest) -> HttpResponse:
    """Make a key, and show it once: in the answer itself, so that it is stored nowhere."""
    posted = request.POST if request.method == "POST" else None
    form = KeyForm(posted, member=request.membership)
    if posted is not None and form.is_valid():
        try:
            key, text = api_keys.create_key(
                request.membership, **form.cleaned_data, by=request.user, now=timezone.now()
            )
        except Refused as error:
            form.add_error("name" if error.code == "name_taken" else None, str(error))
        else:
            return _shown_once(request, key, text)
    return render_page(request, "tenants/key_add.html", {"form": form})


@requires("keys.manage")
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("text")
@fresh
def key_rotate(request: TenantRequest, pk: int) -> HttpResponse:
    """Make a second key in the place of this one, which ends after the overlap."""
    key = _key(request, pk)
    posted = request.POST if request.method == "POST" else None
    form = RotateForm(posted)
    if posted is not None and form.is_valid():
        try:
            made, text = api_keys.rotate_key(
                key, **form.cleaned_data, by=request.user, now=timezone.now()
            )
        except Refused as error:
            messages.error(request, str(error))
            return redirect("keys:list", request.tenant.slug)
        key.refresh_from_db()
        return _shown_once(request, made, text, old=key)
    return render_page(request, "tenants/key_rotate.html", {"form": form, "key": key})


@requires("keys.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def key_revoke(request: TenantRequest, pk: int) -> HttpResponse:
    """Ask, then end a key at once."""
    key = _key(request, pk)
    back = redirect("keys:list", request.tenant.slug)
    if request.method != "POST":
        question = Question(
            title=_("Revoke the key “%(name)s”?") % {"name": key.name},
            yes=_("Revoke"),
            points=(
                _("The program that holds it is refused with its next call."),
                _("Tokens that it got for the key end with it."),
                _("This cannot be undone. To change keys without an interruption, rotate it."),
            ),
            back=back.url,
            icon="key",
            danger=True,
            target="#dialog-body",
        )
        return ask(request, question)
    try:
        api_keys.revoke_key(key, by=request.user, now=timezone.now())
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The key “%(name)s” was revoked.") % {"name": key.name})
    return HttpResponseClientRedirect(back.url) if request.htmx else back


def _row(request: TenantRequest, key: ApiKey, now: datetime) -> Row:
    chips = [
        ScopeChip(
            name,
            str(SCOPE_NAMES.get(name, "")),
            # `admin` is as much as the role allows, whatever that is.
            idle=name != "admin" and not can(key.created_by, SCOPE_TAKES[name]),
        )
        for name in key.scopes
    ]
    return Row(
        key,
        chips,
        mine=key.created_by_id == request.membership.pk,
        in_force=key.is_in_force(now),
    )


def _key(request: TenantRequest, pk: int) -> ApiKey:
    """A key that the member may see. Raises Http404."""
    return get_object_or_404(api_keys.visible_keys(request.membership), pk=pk)


@sensitive_variables("text")
def _shown_once(
    request: TenantRequest, key: ApiKey, text: str, old: ApiKey | None = None
) -> HttpResponse:
    """The page with the key's text: the one time that it is seen."""
    path = next((path for name, path in FIRST_CALLS.items() if name in key.scopes), None)
    context = {
        "key": key,
        "text": text,
        "old": old,
        "call": request.build_absolute_uri(path or reverse("api-token")),
        "is_post": path is None,
        "has_example": path is not None or tokens.are_on(),
    }
    return render_page(request, "tenants/key_made.html", context)
