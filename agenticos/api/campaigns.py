"""/api/v1/campaigns."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ID_MAX, ApiView, one, operation
from agenticos.api.fields import Audience, SendingWindow, Text
from agenticos.api.problems import bad_input
from agenticos.api.shapes import PageQuery, Strict, page_of
from campaigns import actions, removal
from campaigns.models import Campaign, SendingAccount, Step
from campaigns.status import iso, starts_at, stats_of, status_of
from tenants.models import Tenant

LIMIT_MAX = 100_000
TAG = "Campaigns"


# --- Shapes -----------------------------------------------------------------------------------


class CampaignPatch(Strict):
    """A draft. It has a text of its own, or begins with one of the library."""

    name = serializers.CharField(max_length=120)
    text = Text(required=False)
    template_id = serializers.IntegerField(required=False)
    audience = Audience(required=False)
    account_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=ID_MAX),
        required=False,
        max_length=1_000,
        help_text="The accounts that it sends from; without it all that are active.",
    )
    limit = serializers.IntegerField(min_value=1, max_value=LIMIT_MAX, default=500)
    min_score = serializers.IntegerField(min_value=0, max_value=100, default=0)
    day_cap = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=LIMIT_MAX,
        help_text="Messages a day of this campaign, in the workspace's zone; null: no cap.",
    )
    window = SendingWindow(
        required=False,
        allow_null=True,
        help_text="null: at any hour of any day. Without it: Monday to Saturday, 9 to 20 h.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "text" in attrs and "template_id" in attrs:
            raise serializers.ValidationError(
                {"template_id": [_("Give a text or a template_id, not both.")]}
            )
        return attrs


class CampaignCreate(CampaignPatch):
    audience = Audience()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "text" not in attrs and "template_id" not in attrs:
            raise serializers.ValidationError({"text": [_("Give a text or a template_id.")]})
        return super().validate(attrs)


class StartAt(Strict):
    """When to start; nothing means now."""

    at = serializers.DateTimeField(
        required=False,
        help_text="ISO 8601. Without an offset it is in the workspace's time zone.",
    )


class StatsSerializer(serializers.Serializer[Any]):
    """The seven states after `audience` sum to it at every moment."""

    audience = serializers.IntegerField()
    queued = serializers.IntegerField()
    claimed = serializers.IntegerField(help_text="In flight: they will still arrive.")
    sent = serializers.IntegerField()
    failed = serializers.IntegerField()
    unknown = serializers.IntegerField(help_text="Nobody knows; a person says what happened.")
    skipped = serializers.IntegerField()
    cancelled = serializers.IntegerField()


class CampaignSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    state = serializers.ChoiceField(Campaign.State.choices)
    reason = serializers.CharField(help_text="A code, or empty.")
    reason_text = serializers.CharField()
    text = serializers.CharField(
        allow_null=True,
        help_text="The first message, before it is rendered; null for those who may not read.",
    )
    audience = serializers.DictField()
    account_ids = serializers.ListField(child=serializers.IntegerField())
    limit = serializers.IntegerField()
    min_score = serializers.IntegerField()
    day_cap = serializers.IntegerField(allow_null=True, help_text="Of its own; null: none.")
    window = serializers.DictField(allow_null=True)
    stats = StatsSerializer()
    created_at = serializers.DateTimeField()
    starts_at = serializers.DateTimeField(allow_null=True, help_text="Set while `scheduled`.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class CampaignStatusSerializer(serializers.Serializer[Any]):
    campaign_id = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(Campaign.State.choices)
    sub_status = serializers.CharField(help_text="Why nothing leaves now: a code, or empty.")
    reason = serializers.CharField(help_text="The same as a sentence, with what to do.")
    starts_at = serializers.DateTimeField(allow_null=True, help_text="Set while `scheduled`.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    checkpoint = serializers.DateTimeField(
        allow_null=True, help_text="When a worker last worked on it."
    )
    stats = StatsSerializer()


class CampaignQuery(PageQuery):
    state = serializers.ChoiceField(Campaign.State.values, default="")
    q = serializers.CharField(default="", max_length=120, help_text="In the name.")


CampaignPage = page_of(CampaignSerializer)
STATS = {
    "audience": 120, "queued": 100, "claimed": 1, "sent": 18, "failed": 0, "unknown": 0,
    "skipped": 1, "cancelled": 0,
}  # fmt: skip
STATUS = {
    "campaign_id": 12, "name": "Autumn", "status": "running", "sub_status": "outside_window",
    "reason": "It is outside the campaign's sending hours.", "starts_at": None,
    "started_at": "2026-03-04T15:00:00+00:00", "finished_at": None,
    "checkpoint": "2026-03-04T15:12:09+00:00", "stats": STATS,
}  # fmt: skip
DRAFT = {
    "name": "Autumn", "template_id": 3, "limit": 200, "min_score": 50,
    "audience": {"kind": "filter", "bands": ["HOT", "WARM"]},
}  # fmt: skip


# --- What several of them do ------------------------------------------------------------------


def chosen_accounts(tenant: Tenant, ids: list[int] | None) -> list[SendingAccount]:
    """The accounts with these ids, or all active ones. Raises Problem for an id that is none."""
    accounts = tenant.sending_accounts.exclude(state=SendingAccount.State.OFF).order_by("handle")
    if ids is None:
        return list(accounts.filter(state=SendingAccount.State.ACTIVE))
    found = list(accounts.filter(pk__in=ids))
    missing = set(ids) - {account.pk for account in found}
    if missing:
        text = _("There is no sending account with this id: %(id)s.") % {"id": min(missing)}
        raise bad_input({"account_ids": [text]})
    return found


def chosen_text(tenant: Tenant, given: dict[str, Any]) -> str | None:
    """The text that was given, or that of the template. Raises Problem for an id that is none."""
    if "template_id" not in given:
        text: str | None = given.get("text")
        return text
    template = tenant.templates.filter(pk=given["template_id"]).first()
    if template is None:
        raise bad_input({"template_id": [_("There is no text with this id in the library.")]})
    return template.body


def shown(campaigns: list[Campaign], *, may_read: bool) -> list[dict[str, Any]]:
    """Campaigns as the API shows them, with three statements for all of them."""
    ids = [campaign.pk for campaign in campaigns]
    texts: dict[int, str] = {}
    steps = Step.objects.filter(campaign__in=ids, number=1).order_by("version")
    texts.update(steps.values_list("campaign_id", "body"))
    accounts: dict[int, list[int]] = {}
    links = Campaign.accounts.through.objects.filter(campaign__in=ids).order_by("account_id")
    for campaign_id, account_id in links.values_list("campaign_id", "account_id"):
        accounts.setdefault(campaign_id, []).append(account_id)
    return [
        {
            "id": row.pk,
            "name": row.name,
            "state": row.state,
            "reason": row.reason,
            "reason_text": row.why,
            "text": texts.get(row.pk, "") if may_read else None,
            "audience": row.audience,
            "account_ids": accounts.get(row.pk, []),
            "limit": row.limit,
            "min_score": row.min_score,
            "day_cap": row.day_cap,
            "window": row.window or None,
            "stats": stats_of(row.counts),
            "created_at": iso(row.created_at),
            "starts_at": iso(starts_at(row)),
            "started_at": iso(row.started_at),
            "finished_at": iso(row.finished_at),
        }
        for row in campaigns
    ]


class CampaignsView(ApiView):
    def campaigns(self) -> QuerySet[Campaign]:
        return self.tenant.campaigns.select_related("counts", "tenant")

    def campaign(self, pk: int) -> Campaign:
        return one(self.campaigns(), pk)

    def show(self, pk: int, status: int = 200) -> Response:
        found = shown([self.campaign(pk)], may_read=self.may_read)
        return Response(found[0], status=status)

    def status_answer(self, pk: int, status: int = 202) -> Response:
        campaign = self.campaign(pk)
        answer = status_of(campaign, timezone.now()) | {"starts_at": iso(starts_at(campaign))}
        return Response(answer, status=status)


# --- Campaigns --------------------------------------------------------------------------------


class Campaigns(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, summary="List campaigns, the newest first",
        query=CampaignQuery, answer=CampaignPage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        query = self.query(CampaignQuery)
        rows = self.campaigns()
        if query["state"]:
            rows = rows.filter(state=query["state"])
        if query["q"]:
            rows = rows.filter(name__icontains=query["q"])
        return self.page(rows, ("-pk",), query, lambda found: shown(found, may_read=self.may_read))

    @operation(
        "campaigns:write", "campaigns.edit", tag=TAG, summary="Create a draft",
        body=CampaignCreate, answer=CampaignSerializer, status=201, sent=DRAFT,
        text="Nothing is sent before it is started.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(CampaignCreate)
        window = {} if "window" in given and given["window"] is None else given.get("window")
        campaign = actions.create_campaign(
            self.tenant,
            name=given["name"],
            text=chosen_text(self.tenant, given) or "",
            audience=given["audience"],
            accounts=chosen_accounts(self.tenant, given.get("account_ids")),
            limit=given["limit"],
            min_score=given["min_score"],
            window=window,
            day_cap=given.get("day_cap"),
            by=self.by,
            now=timezone.now(),
        )
        return self.show(campaign.pk, 201)


class CampaignDetail(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, summary="Read a campaign",
        answer=CampaignSerializer,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return self.show(pk)

    @operation(
        "campaigns:write", "campaigns.edit", tag=TAG, summary="Change a draft",
        body=CampaignPatch, answer=CampaignSerializer, sent={"limit": 100},
        text="Changes what the body names. 409 `wrong_state` once it has been started.",
    )  # fmt: skip
    def patch(self, request: Request, pk: int) -> Response:
        campaign = self.campaign(pk)
        given = self.given(CampaignPatch, partial=True)
        step = campaign.steps.filter(number=1).order_by("-version").first()
        text = chosen_text(self.tenant, given)
        accounts = (
            chosen_accounts(self.tenant, given["account_ids"])
            if "account_ids" in given
            else list(campaign.accounts.all())
        )
        actions.edit_campaign(
            campaign,
            name=given.get("name", campaign.name),
            text=text if text is not None else step.body if step else "",
            audience=given.get("audience", campaign.audience),
            accounts=accounts,
            limit=given.get("limit", campaign.limit),
            min_score=given.get("min_score", campaign.min_score),
            window=(given["window"] or {}) if "window" in given else campaign.window,
            day_cap=given.get("day_cap", campaign.day_cap),
            by=self.by,
            now=timezone.now(),
        )
        return self.show(pk)

    @operation(
        "campaigns:write", "campaigns.edit", tag=TAG, summary="Delete a draft", status=204,
        text="409 `wrong_state` once it has been started: its record stays.",
    )  # fmt: skip
    def delete(self, request: Request, pk: int) -> Response:
        removal.delete_draft(self.campaign(pk), by=self.by, now=timezone.now())
        return Response(status=204)


class CampaignStart(CampaignsView):
    @operation(
        "campaigns:launch", "campaigns.launch", tag=TAG, summary="Start a draft, now or later",
        body=StartAt, answer=CampaignStatusSerializer, status=202, example=STATUS,
        sent={"at": "2026-03-05T09:00:00-03:00"},
        text=(
            "409 `already_started` for the second of two starts. With `at` it is `scheduled`, and "
            "starts by itself; again with another time moves it, and without one starts it now."
        ),
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        campaign, now = self.campaign(pk), timezone.now()
        at = self.given(StartAt).get("at")
        if at is None:
            actions.start_campaign(campaign, by=self.by, now=now)
        else:
            actions.schedule_campaign(campaign, at, by=self.by, now=now)
        return self.status_answer(pk)


class CampaignPause(CampaignsView):
    @operation(
        "campaigns:write", "campaigns.control", tag=TAG, summary="Pause a running campaign",
        answer=CampaignStatusSerializer, status=202, example=STATUS,
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.pause_campaign(self.campaign(pk), by=self.by, now=timezone.now())
        return self.status_answer(pk)


class CampaignResume(CampaignsView):
    @operation(
        "campaigns:launch", "campaigns.resume", tag=TAG,
        summary="Let a paused or blocked campaign go on",
        answer=CampaignStatusSerializer, status=202, example=STATUS,
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.resume_campaign(self.campaign(pk), by=self.by, now=timezone.now())
        return self.status_answer(pk)


class CampaignStop(CampaignsView):
    @operation(
        "campaigns:write", "campaigns.control", tag=TAG, summary="Stop a campaign for good",
        answer=CampaignStatusSerializer, status=202, example=STATUS,
        text="No message leaves after the answer but those in flight: `stats.claimed`. Again: 202.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.stop_campaign(self.campaign(pk), by=self.by, now=timezone.now())
        return self.status_answer(pk)
