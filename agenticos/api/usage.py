"""/api/v1/usage: what the sending accounts have used of their caps, day by day."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any, Final

from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, operation
from agenticos.api.shapes import PageQuery
from campaigns.models import AccountUsage, SendingAccount

TAG = "Accounts"
DAYS_MAX: Final = 92
DAYS: Final = 30


class UsageQuery(PageQuery):
    """Days, the first and the last one included; without them the last 30 days."""

    until = serializers.DateField(required=False, help_text="The last day; today.")
    since = serializers.DateField(
        required=False, help_text=f"The first day; at most {DAYS_MAX} days before the last one."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        last = attrs.get("until", timezone.localdate())
        # A date has no days before the year 1.
        first = attrs.get("since", last - timedelta(days=min(DAYS, last.toordinal()) - 1))
        if not 0 <= (last - first).days < DAYS_MAX:
            text = _("Expected are 1 to %(limit)s days.") % {"limit": DAYS_MAX}
            raise serializers.ValidationError({"since": [text]})
        return {**attrs, "since": first, "until": last}


class UsageDaySerializer(serializers.Serializer[Any]):
    date = serializers.DateField()
    used = serializers.IntegerField()


class AccountUsageSerializer(serializers.Serializer[Any]):
    account_id = serializers.IntegerField()
    handle = serializers.CharField()
    day_cap = serializers.IntegerField(help_text="As it is now.")
    used = serializers.IntegerField()
    days = UsageDaySerializer(many=True, help_text="Those with any, in the account's time zone.")


class UsageSerializer(serializers.Serializer[Any]):
    """What was taken of the caps: sent, in flight, or of unknown outcome."""

    since = serializers.DateField()
    until = serializers.DateField()
    used = serializers.IntegerField(help_text="Of the whole workspace.")
    days = UsageDaySerializer(many=True, help_text="Of the whole workspace.")
    items = AccountUsageSerializer(many=True)
    next = serializers.CharField(
        allow_null=True, help_text="The cursor of the next page; null on the last one."
    )
    total = serializers.IntegerField(required=False, help_text="Only with `total=1`: accounts.")


class Usage(ApiView):
    @operation(
        "campaigns:read", "accounts.view", tag=TAG, query=UsageQuery, answer=UsageSerializer,
        summary="Read how much was sent, by account and day",
        example={
            "since": "2026-03-03", "until": "2026-03-04", "used": 61,
            "days": [{"date": "2026-03-03", "used": 50}, {"date": "2026-03-04", "used": 11}],
            "items": [{
                "account_id": 3, "handle": "clinic", "day_cap": 50, "used": 61,
                "days": [{"date": "2026-03-03", "used": 50}, {"date": "2026-03-04", "used": 11}],
            }],
            "next": None,
        },
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        query = self.query(UsageQuery)
        first, last = query["since"], query["until"]
        # Days by their names; hours stand beside them, and their names are longer.
        names = [str(first + timedelta(days=count)) for count in range((last - first).days + 1)]
        used = AccountUsage.objects.filter(period__in=names)
        by_day = used.values_list("period").annotate(Sum("used")).order_by("period")
        days = [{"date": day, "used": number} for day, number in by_day]
        page = self.page(
            self.tenant.sending_accounts.all(), ("pk",), query, lambda rows: _shown(rows, used)
        )
        whole = {"since": first, "until": last, "used": sum(number for _day, number in by_day)}
        return Response({**whole, "days": days, **page.data})


def _shown(accounts: list[SendingAccount], used: Any) -> list[dict[str, Any]]:
    days: dict[int, list[dict[str, Any]]] = defaultdict(list)
    rows = used.filter(account__in=accounts).order_by("period")
    for account_id, day, number in rows.values_list("account_id", "period", "used"):
        days[account_id].append({"date": day, "used": number})
    return [
        {
            "account_id": account.pk,
            "handle": account.handle,
            "day_cap": account.day_cap,
            "used": sum(day["used"] for day in days[account.pk]),
            "days": days[account.pk],
        }
        for account in accounts
    ]
