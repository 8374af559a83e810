"""What several pages of integrations need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import redirect
from django_htmx.http import reswap, trigger_client_event

from agenticos.htmx import render_page
from agenticos.questions import Question
from integrations import actions
from integrations.models import SyncItem
from tenants.http import TenantRequest

CHANGED = "sync-changed"  # live parts hear it and ask again by themselves
# The target of a question whose answer replaces nothing: it is there on every page.
ANYWHERE = "#main"


def frame(request: TenantRequest) -> dict[str, Any]:
    """What the tabs above every page show."""
    return {"n_dead": actions.dead(request.tenant).count()}


def decide(request: TenantRequest, question: Question, form: Form) -> HttpResponse:
    """A question with a field of its own: as a dialog's content for htmx, else as a page."""
    context = {"question": question, "action": request.get_full_path(), "form": form}
    return render_page(request, "integrations/decide.html", context, parts=["dialog-body"])


def done(request: TenantRequest, back: str) -> HttpResponse:
    """The answer to an act: the toasts, and news for the live parts behind; or the way back."""
    if not request.htmx:
        return redirect(back)
    response = render_page(request, "includes/toasts_oob.html", {})
    return trigger_client_event(reswap(response, "none"), CHANGED)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One line of the sync log: the entry, the page of its record, what happens next in words."""

    item: SyncItem
    url: str
    next: str
