"""What comes next for one lead: a card of the lead's page, which itself knows no campaigns."""

from __future__ import annotations

from django.db.models import Case, IntegerField, Value, When
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from campaigns import diagnosis
from campaigns.models import Message
from tenants.http import TenantRequest, requires
from tenants.roles import can

# What waits for a person comes before what leaves by itself.
URGENT = (Message.State.UNKNOWN, Message.State.CLAIMED, Message.State.QUEUED)


@requires("campaigns.view")
@require_safe
def lead_next(request: TenantRequest, pk: int) -> HttpResponse:
    """The lead's open message: its step, its time, its account, and the one gate that holds it."""
    lead = get_object_or_404(request.tenant.leads, pk=pk)
    ranks = [When(state=state, then=Value(rank)) for rank, state in enumerate(URGENT)]
    messages = request.tenant.messages.filter(lead=lead, state__in=URGENT).defer("text")
    messages = messages.select_related("campaign", "account")
    urgency = Case(*ranks, output_field=IntegerField())
    message = messages.order_by(urgency, "due_at", "pk").first()
    found = diagnosis.diagnose_message(message, timezone.now()) if message else None
    context = {
        "lead": lead,
        "message": message,
        "diagnosis": found,
        "may_fix": bool(found and found.fix and can(request.membership, found.fix.right)),
    }
    return render_page(request, "campaigns/lead_next.html", context, parts=["next"])
