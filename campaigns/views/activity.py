"""The activity of a campaign."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from campaigns import activity
from campaigns.views.panel import tab_page
from campaigns.views.shared import one_of
from tenants.http import TenantRequest, requires

KINDS = (
    ("", _("Everything")),
    ("people", _("By people")),
    ("system", _("By the system")),
    ("messages", _("Messages")),
)


@requires("campaigns.view")
@require_safe
def campaign_activity(request: TenantRequest, pk: int) -> HttpResponse:
    """What happened, newest first. `since` is the permanent link of one event."""
    campaign = one_of(request, pk)
    wanted = request.GET.get("kind", "")
    kind = wanted if wanted in activity.KINDS else ""
    context = {}
    if request.htmx.target != "panel":
        after, since = request.GET.get("after", ""), request.GET.get("since", "")
        context = {
            "stream": activity.stream(campaign, kind=kind, after=after, since=since),
            "kind": kind,
            "kinds": KINDS,
            "is_newest": not (after or since),
        }
    return tab_page(request, campaign, "activity", context, parts=("events",))
