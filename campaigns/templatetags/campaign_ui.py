"""What only pages about messages need: bars of buckets, and campaigns in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import pgettext, pgettext_lazy

from campaigns import plan
from campaigns.fixes import Fix
from campaigns.forms import DAYS
from campaigns.models import Campaign, CampaignCounts
from leads.models import Lead
from tenants.models import Tenant

register = template.Library()

# From the surest to the least sure, so that a bar grows from the left.
ORDER = ("sent", "claimed", "unknown", "failed", "skipped", "cancelled", "queued")


# What stands beside a count of messages, so it is plural where a language wants that.
BUCKET_NAMES = {
    "queued": pgettext_lazy("how many messages", "queued"),
    "claimed": pgettext_lazy("how many messages", "in flight"),
    "sent": pgettext_lazy("how many messages", "sent"),
    "failed": pgettext_lazy("how many messages", "failed"),
    "unknown": pgettext_lazy("how many messages", "unknown"),
    "skipped": pgettext_lazy("how many messages", "skipped"),
    "cancelled": pgettext_lazy("how many messages", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """One bucket of a stacked bar of width 100: where it begins and how wide it is."""

    bucket: str
    label: str
    count: int
    start: float
    width: float


@register.filter
def segments(counts: CampaignCounts | None) -> list[Segment]:
    """The non-empty buckets in the order of a stacked bar."""
    found: list[Segment] = []
    if counts is None:
        return found
    start = 0.0
    for bucket in ORDER:
        count = getattr(counts, bucket)
        if count > 0:
            width = 100 * count / max(counts.audience, 1)
            found.append(Segment(bucket, str(BUCKET_NAMES[bucket]), count, start, width))
            start += width
    return found


@register.filter
def share(part: int, whole: int) -> int:
    """`part` of `whole` in whole percent, for bars; 0 when there is nothing."""
    return min(100, round(100 * part / whole)) if whole else 0


@register.filter
def chip_of(campaign: Campaign) -> str:
    """The class of a campaign's state."""
    if campaign.state in (Campaign.State.CANCELLED, Campaign.State.DRAFT):
        return "chip-quiet"
    return f"chip-{campaign.state}"


@register.filter
def bucket(counts: CampaignCounts | None, name: str) -> int:
    """How many rows are in one bucket."""
    return int(getattr(counts, name)) if counts else 0


@register.filter
def bucket_label(name: str) -> str:
    """A bucket's name for people, as a heading."""
    return str(capfirst(str(BUCKET_NAMES[name])))


@register.filter
def lead_url(lead: Lead, tenant: Tenant) -> str:
    """The lead's page, without asking the database for its tenant once per row."""
    return reverse("leads:detail", args=[tenant.slug, lead.pk])


@register.filter
def window_hours(window: dict[str, Any]) -> str:
    """The hours of a stored window, such as 09:00–20:00."""
    return f"{window['from']}–{window['to']}"


@register.filter
def window_days(window: dict[str, Any]) -> str:
    """The days of a stored window: "Mon–Sat", or a list when they are not in a row."""
    days = sorted(window["days"])
    names = [str(label) for _number, label in DAYS]
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{names[days[0]]}–{names[days[-1]]}"
    return ", ".join(names[day] for day in days)


@register.filter
def start_words(at: datetime) -> str:
    """When a campaign starts, with the day of the week and the zone's city.

    "Tue 24 Nov, 09:00 (Sao Paulo)"
    """
    shown = date_format(timezone.localtime(at), pgettext("date format", "D j M, H:i"))
    return f"{shown} ({zone_city(timezone.get_current_timezone_name())})"


@register.filter
def zone_city(name: str) -> str:
    """What people call a time zone: "America/Sao_Paulo" is "São Paulo"."""
    city = name.rpartition("/")[2].replace("_", " ")
    return {"Sao Paulo": "São Paulo"}.get(city, city)


@register.filter
def allowed(fix: Fix, rights: Any) -> bool:
    """Whether the person may act where a fix leads; `rights` are those of every tenant's page."""
    return bool(rights[fix.right.replace(".", "_", 1)])


@register.simple_tag
def plan_lines(tenant: Tenant) -> list[plan.Line]:
    """The limits of the tenant's plan, each with what is used of it."""
    return plan.lines(tenant, timezone.now())
