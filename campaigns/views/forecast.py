"""The forecast card: when it is done, what holds it up, and what if that were changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django import forms
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from campaigns import planning
from campaigns.forecast import WhatIf, hours_of
from campaigns.models import Campaign
from campaigns.planner import Inputs
from campaigns.planning import Day
from tenants.http import TenantRequest, requires

WIDTH, HEIGHT = 640, 120  # of the chart, in its own units
GAP = 0.25  # between two bars, as a part of their distance
BARS_MAX = 45  # with more days a bar is a week


@dataclass(frozen=True, slots=True)
class Bar:
    """A day, or the week that begins with it: its messages and where its two parts stand."""

    day: date
    done: int
    planned: int
    x: float
    width: float
    done_y: float
    done_height: float
    planned_y: float
    planned_height: float


class WhatIfForm(forms.Form):
    """Changed circumstances; what is not a number in range changes nothing."""

    accounts = forms.IntegerField(label=_("Accounts"), min_value=1, max_value=200, required=False)
    day_cap = forms.IntegerField(label=_("Daily cap"), min_value=1, max_value=5_000, required=False)
    hours = forms.IntegerField(label=_("Hours a day"), min_value=1, max_value=24, required=False)

    def what_if(self, today: dict[str, int]) -> WhatIf:
        """What differs from how things stand today."""
        self.is_valid()
        given = {
            name: value
            for name, value in self.cleaned_data.items()
            if value is not None and value != today.get(name)
        }
        return WhatIf(given.get("accounts"), given.get("day_cap"), given.get("hours"))


@requires("campaigns.view")
@require_safe
def campaign_forecast(request: TenantRequest, pk: int) -> HttpResponse:
    """The card as a page, as a part of the panel, or its result alone while somebody types."""
    campaigns = request.tenant.campaigns.select_related("tenant")
    campaign = get_object_or_404(campaigns, pk=pk)
    now = timezone.now()
    found = planning.forecast_for(campaign, now=now)
    today = _today(found.inputs)
    given = {name: request.GET[name] for name in WhatIfForm.base_fields if request.GET.get(name)}
    form = WhatIfForm({**today, **given})
    what_if = form.what_if(today)
    if found.inputs and what_if.changes:
        changed = planning.forecast_for(
            campaign, now=now, messages=found.plan.messages, what_if=what_if
        )
        found, before = changed, found
    else:
        before = None
    context = {
        "campaign": campaign,
        "forecast": found,
        "before": before,
        "bars": bars(found.days),
        "is_weekly": len(found.days) > BARS_MAX,
        "form": form if today else None,
        "caps": "–".join(str(cap) for cap in _caps(found.inputs)),
        "width": WIDTH,
        "height": HEIGHT,
    }
    template = "campaigns/forecast.html"
    if request.htmx and request.htmx.target == "forecast-place" and _is_about_to_run(campaign):
        context["again"] = True
    if request.htmx:
        typing = request.htmx.target == "forecast-result"
        template = "campaigns/_forecast_result.html" if typing else "campaigns/_forecast.html"
    return render_page(request, template, context)


def _is_about_to_run(campaign: Campaign) -> bool:
    """Whether the campaign has been started, and its audience is still being put down."""
    return campaign.state == Campaign.State.PREPARING


def _today(inputs: Inputs | None) -> dict[str, int]:
    """The circumstances as they are; a daily cap only where all accounts have the same."""
    if inputs is None:
        return {}
    caps = _caps(inputs)
    today = {"accounts": len(inputs.senders), "hours": hours_of(inputs.campaign.window)}
    return {**today, "day_cap": caps[0]} if len(caps) == 1 else today


def _caps(inputs: Inputs | None) -> list[int]:
    """The lowest and the highest daily cap of the accounts; one where all are the same."""
    caps = {sender.facts.pace.day_cap for sender in inputs.senders} if inputs else set()
    return sorted({min(caps), max(caps)}) if caps else []


def bars(days: Sequence[Day]) -> list[Bar]:
    """The bars of a chart of `WIDTH` × `HEIGHT`, one a day without gaps; a week with many days."""
    if not days:
        return []
    step = timedelta(days=7 if len(days) > BARS_MAX else 1)
    first = days[0].date
    count = (days[-1].date - first) // step + 1
    sums = [[0, 0] for _day in range(count)]
    for day in days:
        place = (day.date - first) // step
        sums[place][0] += day.done
        sums[place][1] += day.planned
    most = max(done + planned for done, planned in sums) or 1
    # A lone day is no wall of colour.
    pitch = WIDTH / max(count, 8)
    found = []
    for place, (done, planned) in enumerate(sums):
        low, high = HEIGHT * done / most, HEIGHT * planned / most
        found.append(
            Bar(
                day=first + place * step,
                done=done,
                planned=planned,
                x=round(place * pitch, 2),
                width=round(pitch * (1 - GAP), 2),
                done_y=round(HEIGHT - low, 2),
                done_height=round(low, 2),
                planned_y=round(HEIGHT - low - high, 2),
                planned_height=round(high, 2),
            )
        )
    return found
