"""/api/v1/accounts: the sending accounts, their health and what they may still send."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, one, operation
from agenticos.api.shapes import PageQuery, Strict, page_of
from campaigns import actions, daycaps, ledger, pacing
from campaigns.codes import Code, sentence
from campaigns.facts import account_facts
from campaigns.gates import ALLOW, Decision, Facts, Verdict, gate
from campaigns.models import SendingAccount
from campaigns.status import iso

TAG = "Accounts"


class AccountSerializer(serializers.ModelSerializer[SendingAccount]):
    block_reason = serializers.CharField(source="why", help_text="In the reader's language.")

    class Meta:
        model = SendingAccount
        fields = (
            "id", "handle", "state", "block_code", "block_reason", "block_detail", "blocked_at",
            "day_cap", "hour_cap", "gap_min_s", "gap_max_s", "jitter_percent", "time_zone",
            "error_percent", "error_window_min", "last_used_at",
        )  # fmt: skip


class BlockRequest(Strict):
    reason = serializers.CharField(max_length=300, default="", allow_blank=True)


class CapacitySerializer(serializers.Serializer[Any]):
    """What the worker would say of this account now."""

    account_id = serializers.IntegerField()
    day_cap = serializers.IntegerField()
    used_day = serializers.IntegerField(help_text="In its own time zone's day.")
    hour_cap = serializers.IntegerField()
    used_hour = serializers.IntegerField()
    plan_day_cap = serializers.IntegerField(
        allow_null=True, help_text="Of all accounts together, in the workspace's day; null: none."
    )
    used_plan_day = serializers.IntegerField(allow_null=True)
    room = serializers.IntegerField(help_text="What all these caps still allow now.")
    binding = serializers.CharField(help_text="Why it may not send now: a code, or empty.")
    reason = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True)


AccountPage = page_of(AccountSerializer)


class AccountsView(ApiView):
    def account(self, pk: int) -> SendingAccount:
        return one(self.tenant.sending_accounts.all(), pk)

    def show(self, pk: int) -> Response:
        return Response(AccountSerializer(self.account(pk)).data)


class Accounts(AccountsView):
    @operation(
        "campaigns:read", "accounts.view", tag=TAG, summary="List the sending accounts",
        query=PageQuery, answer=AccountPage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.tenant.sending_accounts.all(),
            ("pk",),
            self.query(),
            lambda rows: AccountSerializer(rows, many=True).data,
        )


class AccountDetail(AccountsView):
    @operation(
        "campaigns:read", "accounts.view", tag=TAG, summary="Read a sending account",
        answer=AccountSerializer,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return self.show(pk)


class AccountCapacity(AccountsView):
    @operation(
        "campaigns:read", "accounts.view", tag=TAG, answer=CapacitySerializer,
        summary="Read what an account may still send",
        example={
            "account_id": 3, "day_cap": 50, "used_day": 50, "hour_cap": 10, "used_hour": 4,
            "plan_day_cap": 120, "used_plan_day": 71, "room": 0, "binding": "account_daily_cap",
            "reason": "The account has sent all that its daily cap allows.",
            "until": "2026-03-05T03:00:00+00:00",
        },
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        account, now = self.account(pk), timezone.now()
        used = ledger.used_by([pk], self.tenant, {pk: account}, now)[pk]
        facts = account_facts(account, self.tenant, *used)
        decision = gate(Facts(account=facts), now)
        plan = daycaps.in_force(self.tenant, (), now).tenant
        if decision is ALLOW and plan and not plan.room:
            decision = Decision(
                Verdict.WAIT, Code.TENANT_CAP, pacing.next_day(now, self.tenant.zone)
            )
        code = str(decision.code or "")
        return Response(
            {
                "account_id": pk,
                "day_cap": account.day_cap,
                "used_day": used[0],
                "hour_cap": account.hour_cap,
                "used_hour": used[1],
                "plan_day_cap": plan.cap if plan else None,
                "used_plan_day": plan.used if plan else None,
                "room": min(facts.room, plan.room) if plan else facts.room,
                "binding": code,
                "reason": account.why or (sentence(code) if code else ""),
                "until": iso(decision.until),
            }
        )


class AccountBlock(AccountsView):
    @operation(
        "campaigns:write", "accounts.edit", tag=TAG, body=BlockRequest, answer=AccountSerializer,
        summary="Take an account out of all rotation", sent={"reason": "on holiday"},
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        account = self.account(pk)
        reason = self.given(BlockRequest)["reason"]
        actions.block_account(account, by=self.by, now=timezone.now(), reason=reason)
        return self.show(pk)


class AccountUnblock(AccountsView):
    @operation(
        "campaigns:write", "accounts.edit", tag=TAG, answer=AccountSerializer,
        summary="Let an account send again",
        text="409 `session_invalid` while its connection is broken.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.unblock_account(self.account(pk), by=self.by, now=timezone.now())
        return self.show(pk)
