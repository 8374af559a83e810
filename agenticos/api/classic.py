"""The four documented addresses of the first system, as programs know them."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ID_MAX, operation
from agenticos.api.campaigns import (
    STATS,
    STATUS,
    CampaignsView,
    StatsSerializer,
    chosen_accounts,
    chosen_text,
)
from agenticos.api.fields import HandlesField
from agenticos.api.forecasts import FORECAST, ForecastSerializer, forecast_of
from agenticos.api.problems import Problem, bad_input
from agenticos.api.shapes import PageQuery, Strict, page_of
from agenticos.errors import Refused
from campaigns import actions
from campaigns.diagnosis import audience_summary, previews
from campaigns.models import Campaign, SendingAccount
from campaigns.status import iso, stats_of, status_of
from leads import actions as lead_actions

TAG = "Campaigns (first system)"
NEW = (
    "target_type", "target_value", "limit", "min_score", "template_id", "account_ids",
    "delay_min", "delay_max",
)  # fmt: skip


# --- Shapes -----------------------------------------------------------------------------------


class StartRequest(Strict):
    """`campaign_id` starts a draft that exists; else a campaign is made out of the rest."""

    name = serializers.CharField(max_length=120, required=False)
    campaign_id = serializers.IntegerField(required=False)
    target_type = serializers.ChoiceField(
        ["leads", "profiles"],
        required=False,
        help_text="`leads`: the best of the list. `profiles`: the handles in `target_value`.",
    )
    target_value = HandlesField(
        required=False, help_text="With `profiles`: handles, as a list or separated by commas."
    )
    limit = serializers.IntegerField(min_value=1, max_value=500, required=False, help_text="500.")
    min_score = serializers.IntegerField(
        min_value=0, max_value=100, required=False, help_text="0; never below the COLD threshold."
    )
    template_id = serializers.IntegerField(required=False)
    account_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=ID_MAX),
        required=False,
        min_length=1,
        max_length=1_000,
        help_text="Without it: all healthy accounts.",
    )
    delay_min = serializers.FloatField(
        min_value=0,
        max_value=1_440,
        required=False,
        help_text=(
            "Minutes. The pause between two messages is each sending account's own, and is not "
            "changed here: 409 `pace_differs` if an account's may be shorter than this."
        ),
    )
    delay_max = serializers.FloatField(
        min_value=0,
        max_value=1_440,
        required=False,
        help_text=(
            "Minutes. 409 `pace_differs` if an account's pause may be longer than this; caps and "
            "sending hours come on top."
        ),
    )
    kevs_mode = serializers.BooleanField(
        required=False,
        help_text=(
            "Strict round-robin over the accounts. Every campaign prefers the account that was "
            "used least recently, but none waits for another one's pause: so with more than one "
            "account true answers 400 `not_supported`."
        ),
    )
    dry_run = serializers.BooleanField(default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        wrong: dict[str, list[str]] = {}
        if "campaign_id" in attrs:
            text = _("Not together with campaign_id: the draft says it already.")
            wrong = {name: [text] for name in NEW if name in attrs}
        else:
            needed = ["name", "target_type", "template_id"]
            if attrs.get("target_type") == "profiles":
                needed.append("target_value")
            elif "target_value" in attrs:
                wrong["target_value"] = [_("Only with the target_type “profiles”.")]
            for name in needed:
                if not attrs.get(name):
                    wrong[name] = [_("This is needed unless there is a campaign_id.")]
        if attrs.get("delay_min", 0) > attrs.get("delay_max", 1_440):
            wrong["delay_max"] = [_("Expected delay_min or more.")]
        if wrong:
            raise serializers.ValidationError(wrong)
        return attrs


class LinksSerializer(serializers.Serializer[Any]):
    self = serializers.CharField()
    stop = serializers.CharField()
    messages = serializers.CharField()
    page = serializers.CharField(help_text="The control panel, for people.")


class RepliedStatsSerializer(StatsSerializer):
    replied = serializers.IntegerField(
        allow_null=True, help_text="null while no inbox is connected: nobody counts replies."
    )


class StartAnswerSerializer(serializers.Serializer[Any]):
    campaign_id = serializers.IntegerField()
    status = serializers.ChoiceField(Campaign.State.choices)
    stats = RepliedStatsSerializer()
    links = LinksSerializer()


class PreviewSerializer(serializers.Serializer[Any]):
    handle = serializers.CharField()
    text = serializers.CharField()
    missing = serializers.ListField(
        child=serializers.CharField(), help_text="Placeholders without a value: it is skipped."
    )


class DryAudienceSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    by_band = serializers.DictField(child=serializers.IntegerField())
    left_out = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many match and get nothing, by reason."
    )


class DryRunSerializer(serializers.Serializer[Any]):
    """What a start would do. Nothing was stored."""

    dry_run = serializers.BooleanField()
    audience = DryAudienceSerializer()
    previews = PreviewSerializer(many=True, help_text="The first three messages.")
    account_ids = serializers.ListField(child=serializers.IntegerField())
    forecast = ForecastSerializer()


class ClassicCampaignSerializer(serializers.Serializer[Any]):
    campaign_id = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(Campaign.State.choices)
    sub_status = serializers.CharField(help_text="Why nothing leaves now: a code, or empty.")
    reason = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    checkpoint = serializers.DateTimeField(
        allow_null=True, help_text="When a worker last worked on it."
    )
    stats = RepliedStatsSerializer()
    forecast = ForecastSerializer(
        allow_null=True, help_text="null in lists, and once the campaign is over."
    )


class ClassicQuery(PageQuery):
    status = serializers.ChoiceField(Campaign.State.values, default="")


ClassicCampaignPage = page_of(ClassicCampaignSerializer)
CLASSIC = {**STATUS, "stats": {**STATS, "replied": None}, "forecast": FORECAST}
LINKS = {
    "self": "/api/campaign/12", "stop": "/api/campaign/12/stop",
    "messages": "/api/v1/campaigns/12/messages", "page": "/t/acme/campaigns/12/",
}  # fmt: skip


# --- Addresses --------------------------------------------------------------------------------


class ClassicStart(CampaignsView):
    @operation(
        "campaigns:launch", "campaigns.launch", tag=TAG, summary="Start a campaign",
        body=StartRequest, answer=StartAnswerSerializer, status=202, also={200: DryRunSerializer},
        sent={
            "name": "Autumn", "target_type": "leads", "limit": 50, "min_score": 60,
            "template_id": 3, "dry_run": False,
        },
        example={
            "campaign_id": 12, "status": "preparing",
            "stats": {**dict.fromkeys(STATS, 0), "replied": None}, "links": LINKS,
        },
        text=(
            "Makes a campaign and starts it, or starts a draft. With `dry_run` it answers 200 "
            "with the audience by band, three previews and the forecast, and stores nothing. "
            "409 `already_started` for the second start of a draft."
        ),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(StartRequest)
        if given["dry_run"]:
            with transaction.atomic():
                answer = self._rehearsed(self._campaign(given, dry=True))
                transaction.set_rollback(True)
            return Response(answer)
        with transaction.atomic():
            campaign = self._campaign(given)
            actions.start_campaign(campaign, by=self.by, now=timezone.now())
        campaign = self.campaign(campaign.pk)
        return Response(
            {
                "campaign_id": campaign.pk,
                "status": campaign.state,
                "stats": _stats(campaign),
                "links": _links(campaign),
            },
            status=202,
        )

    def _campaign(self, given: dict[str, Any], *, dry: bool = False) -> Campaign:
        """The draft with this id, or a new one out of what was given."""
        now = timezone.now()
        if "campaign_id" in given:
            found = self.campaigns().filter(pk=given["campaign_id"]).first()
            if found is None:
                raise Problem(404, "not_found", _("There is no campaign with this id."))
            if "name" in given and given["name"] != found.name:
                raise bad_input({"name": [_("The draft has another name. Leave it out.")]})
            _check_rotation(given, found.accounts.count())
            return found
        accounts = chosen_accounts(self.tenant, given.get("account_ids"))
        _check_pace(accounts, given.get("delay_min"), given.get("delay_max"))
        _check_rotation(given, len(accounts))
        limit = given.get("limit", 500)
        if given["target_type"] == "profiles":
            handles = given["target_value"][:limit]
            audience: dict[str, object] = {"kind": "handles", "handles": handles}
            if dry:
                lead_actions.ensure_leads(self.tenant, handles, source="campaign", now=now)
        else:
            audience = {"kind": "filter"}
        return actions.create_campaign(
            self.tenant,
            name=given["name"],
            text=chosen_text(self.tenant, given) or "",
            audience=audience,
            accounts=accounts,
            limit=limit,
            min_score=given.get("min_score", 0),
            by=self.by,
            now=now,
        )

    def _rehearsed(self, campaign: Campaign) -> dict[str, Any]:
        """What a start would do. Raises Refused when there is none to come, as a start does."""
        if campaign.state not in (Campaign.State.DRAFT, Campaign.State.SCHEDULED):
            raise Refused(_("This campaign has already been started."), code="already_started")
        summary = audience_summary(campaign)
        may_read = self.may("campaigns:launch", "messages.view_text")
        return {
            "dry_run": True,
            "audience": {
                "total": summary.total,
                "by_band": summary.by_band,
                "left_out": {str(code): number for code, number in summary.left_out.items()},
            },
            "previews": [
                {"handle": one.lead.handle, "text": one.text, "missing": list(one.missing)}
                for one in (previews(campaign) if may_read else [])
            ],
            "account_ids": sorted(campaign.accounts.values_list("pk", flat=True)),
            "forecast": forecast_of(campaign, timezone.now(), messages=summary.total),
        }


class ClassicDetail(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, summary="Read how a campaign stands",
        answer=ClassicCampaignSerializer, example=CLASSIC,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(_detail(self.campaign(pk)))


class ClassicStop(CampaignsView):
    @operation(
        "campaigns:write", "campaigns.control", tag=TAG, summary="Stop a campaign for good",
        answer=ClassicCampaignSerializer, status=202, example=CLASSIC,
        text="No message leaves after the answer but those in flight: `stats.claimed`. Again: 202.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.stop_campaign(self.campaign(pk), by=self.by, now=timezone.now())
        return Response(_detail(self.campaign(pk)), status=202)


class ClassicList(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, summary="List campaigns, the newest first",
        query=ClassicQuery, answer=ClassicCampaignPage,
        text="`sub_status` and `reason` are what is stored; one campaign's own address asks anew.",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        query = self.query(ClassicQuery)
        rows = self.campaigns()
        if query["status"]:
            rows = rows.filter(state=query["status"])
        return self.page(rows, ("-pk",), query, lambda found: [_row(one) for one in found])


def _check_pace(accounts: list[SendingAccount], least: float | None, most: float | None) -> None:
    """Raises Refused when an account's pause may be outside of what was asked for, in minutes."""
    fast = [str(one) for one in accounts if least is not None and one.gap_min_s < least * 60]
    slow = [str(one) for one in accounts if most is not None and one.gap_max_s > most * 60]
    if fast:
        text = _(
            "The pause between two messages is the sending account's own, and that of "
            "%(accounts)s is shorter. Change it there, or leave delay_min out."
        )
        raise Refused(text % {"accounts": ", ".join(fast[:5])}, code="pace_differs")
    if slow:
        text = _(
            "The pause between two messages is the sending account's own, and that of "
            "%(accounts)s is longer. Change it there, or leave delay_max out."
        )
        raise Refused(text % {"accounts": ", ".join(slow[:5])}, code="pace_differs")


def _check_rotation(given: dict[str, Any], accounts: int) -> None:
    """Raises Problem for a strict round-robin over several accounts: nothing would keep it."""
    if given.get("kevs_mode") and accounts > 1:
        text = _("Strict round-robin is not supported with more than one sending account.")
        raise Problem(400, "not_supported", text, errors={"kevs_mode": [text]})


def _detail(campaign: Campaign) -> dict[str, Any]:
    now = timezone.now()
    status = status_of(campaign, now)
    stats = {**status["stats"], "replied": None}
    return {**status, "stats": stats, "forecast": forecast_of(campaign, now)}


def _row(campaign: Campaign) -> dict[str, Any]:
    return {
        "campaign_id": campaign.pk,
        "name": campaign.name,
        "status": campaign.state,
        "sub_status": campaign.reason,
        "reason": campaign.why,
        "started_at": iso(campaign.started_at),
        "finished_at": iso(campaign.finished_at),
        "checkpoint": iso(campaign.counts.worked_at),
        "stats": _stats(campaign),
        "forecast": None,
    }


def _stats(campaign: Campaign) -> dict[str, int | None]:
    return {**stats_of(campaign.counts), "replied": None}


def _links(campaign: Campaign) -> dict[str, str]:
    return {
        "self": reverse("api-campaign", args=[campaign.pk]),
        "stop": reverse("api-campaign-stop", args=[campaign.pk]),
        "messages": reverse("api-campaign-messages", args=[campaign.pk]),
        "page": campaign.get_absolute_url(),
    }
