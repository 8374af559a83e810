"""/api/v1/campaigns/{id}/forecast: when a campaign will be done, and what holds it up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import operation
from agenticos.api.campaigns import TAG, CampaignsView
from campaigns import planning
from campaigns.models import Campaign


class BottleneckSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    accounts = serializers.ListField(
        child=serializers.CharField(), help_text="The accounts that it holds up."
    )
    sentence = serializers.CharField()


class NeverSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    sentence = serializers.CharField()


class ForecastDaySerializer(serializers.Serializer[Any]):
    """One day of the tenant's time zone."""

    date = serializers.DateField()
    done = serializers.IntegerField()
    planned = serializers.IntegerField()


class ForecastSerializer(serializers.Serializer[Any]):
    """The plan of what is left, by the worker's own pacing. Nothing is stored."""

    messages = serializers.IntegerField(help_text="What is left to send.")
    assumes = serializers.ChoiceField(
        ["", "start", "resume"], help_text="What it takes to have happened now."
    )
    first_send = serializers.DateTimeField(allow_null=True)
    finish_p50 = serializers.DateTimeField(
        allow_null=True, help_text="null: not within the time that is planned."
    )
    finish_p90 = serializers.DateTimeField(allow_null=True, help_text="With bad luck.")
    bottleneck = BottleneckSerializer(allow_null=True)
    never = NeverSerializer(allow_null=True, help_text="Why nothing would ever leave.")
    per_day = ForecastDaySerializer(many=True)
    per_account = serializers.DictField(child=serializers.IntegerField())


FORECAST = {
    "messages": 101, "assumes": "", "first_send": "2026-03-05T12:00:00+00:00",
    "finish_p50": "2026-03-06T13:05:00+00:00", "finish_p90": "2026-03-06T14:10:00+00:00",
    "bottleneck": {
        "code": "account_daily_cap", "accounts": ["@clinic"], "sentence": "daily cap of @clinic",
    },
    "never": None,
    "per_day": [
        {"date": "2026-03-04", "done": 18, "planned": 0},
        {"date": "2026-03-05", "done": 0, "planned": 80},
        {"date": "2026-03-06", "done": 0, "planned": 21},
    ],
    "per_account": {"@clinic": 101},
}  # fmt: skip


def forecast_of(
    campaign: Campaign, now: datetime, *, messages: int | None = None
) -> dict[str, Any] | None:
    """The forecast as the API shows it; None once the campaign is over.

    `messages` is how many are left to send where the caller knows.
    """
    if campaign.state in planning.OVER:
        return None
    return planning.forecast_for(campaign, now=now, messages=messages).as_json()


class CampaignForecast(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, answer=ForecastSerializer, example=FORECAST,
        summary="Read when a campaign will be done, and what holds it up",
        text="A draft is planned as if it were started now, a paused one as if it were resumed.",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        campaign = self.campaign(pk)
        return Response(planning.forecast_for(campaign, now=timezone.now()).as_json())
