"""/api/v1/campaigns, messages and templates."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ID_MAX, ApiView, PageQuery, Strict, one, operation, page_of
from agenticos.api.problems import bad_input
from campaigns import actions, library, pacing, rendering
from campaigns.models import Campaign, Message, SendingAccount, Step, Template
from campaigns.status import iso, stats_of, status_of
from leads.identities import normalise_handle
from leads.models import Band
from tenants.models import AuditEntry, Tenant

LIMIT_MAX = 100_000
HANDLES_MAX = 500
TAG = "Campaigns"


# --- Shapes -----------------------------------------------------------------------------------


class HandlesField(serializers.ListField):
    """Instagram handles, normalised, each once."""

    child = serializers.CharField(max_length=300)

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=HANDLES_MAX, **options)

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, str):
            data = data.replace(",", " ").replace(";", " ").split()
        found: dict[str, None] = {}
        for text in super().to_internal_value(data):
            handle = normalise_handle(str(text))
            if handle is None:
                raise serializers.ValidationError(
                    _("“%(word)s” is not an Instagram handle.") % {"word": str(text)[:60]}
                )
            found[handle] = None
        return list(found)


class Audience(Strict):
    """Whom it writes to: leads that a filter finds, or handles given by hand."""

    kind = serializers.ChoiceField(["filter", "handles"])
    bands = serializers.ListField(
        child=serializers.ChoiceField([Band.HOT, Band.WARM, Band.COLD]),
        required=False,
        help_text="None: all of them. Nurturing leads are never written to.",
    )
    tag = serializers.CharField(max_length=80, required=False, allow_blank=True)
    handles = HandlesField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "kind" not in attrs:  # the rest of a PATCH may be partial, an audience is whole
            raise serializers.ValidationError({"kind": [_("Expected filter or handles.")]})
        if attrs["kind"] == "handles":
            if not attrs.get("handles"):
                raise serializers.ValidationError({"handles": [_("Write at least one handle.")]})
            return {"kind": "handles", "handles": attrs["handles"]}
        found: dict[str, Any] = {"kind": "filter"}
        if attrs.get("bands"):
            found["bands"] = list(dict.fromkeys(map(str, attrs["bands"])))
        if attrs.get("tag"):
            found["tag"] = attrs["tag"]
        return found


class SendingWindow(Strict):
    """Days (0 is Monday) and hours in which messages may leave, in the tenant's time zone."""

    days = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=6), min_length=1, max_length=7
    )

    def get_fields(self) -> dict[str, Any]:
        hour = r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$"
        return {
            **super().get_fields(),
            "from": serializers.RegexField(hour),
            "to": serializers.RegexField(hour),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            pacing.Window.from_json(attrs)
        except pacing.BadWindow:
            raise serializers.ValidationError(
                {"to": [_("The window must end after it begins.")]}
            ) from None
        return {**attrs, "days": sorted(set(attrs["days"]))}


class Text(serializers.CharField):
    """A message's text, with placeholders and alternatives that are right."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=rendering.MAX_LENGTH, **options)

    def to_internal_value(self, data: Any) -> str:
        text = str(super().to_internal_value(data))
        try:
            rendering.parse(text)
        except rendering.BadTemplate as error:
            raise serializers.ValidationError(error.sentence) from error
        return text


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
    text = serializers.CharField(help_text="The first message, before it is rendered.")
    audience = serializers.DictField()
    account_ids = serializers.ListField(child=serializers.IntegerField())
    limit = serializers.IntegerField()
    min_score = serializers.IntegerField()
    window = serializers.DictField(allow_null=True)
    stats = StatsSerializer()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class CampaignStatusSerializer(serializers.Serializer[Any]):
    campaign_id = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(Campaign.State.choices)
    sub_status = serializers.CharField(help_text="Why nothing leaves now: a code, or empty.")
    reason = serializers.CharField(help_text="The same as a sentence, with what to do.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    checkpoint = serializers.DateTimeField(
        allow_null=True, help_text="When a worker last worked on it."
    )
    stats = StatsSerializer()


class CampaignQuery(PageQuery):
    state = serializers.ChoiceField(Campaign.State.values, default="")
    q = serializers.CharField(default="", max_length=120, help_text="In the name.")


class MessageLeadSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    handle = serializers.CharField()


class MessageSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    campaign_id = serializers.IntegerField()
    lead = MessageLeadSerializer()
    account_id = serializers.IntegerField(allow_null=True)
    step = serializers.IntegerField()
    state = serializers.ChoiceField(Message.State.choices)
    reason = serializers.CharField(help_text="A code, or empty.")
    reason_text = serializers.CharField()
    error = serializers.CharField(help_text="The provider's own words.")
    attempts = serializers.IntegerField()
    text = serializers.CharField(
        allow_null=True, help_text="null while nothing is rendered, and for those who may not read."
    )
    due_at = serializers.DateTimeField(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)


class MessageQuery(PageQuery):
    state = serializers.ChoiceField(Message.State.values, default="")


class ResolveRequest(Strict):
    """What became of a message whose outcome nobody knew."""

    outcome = serializers.ChoiceField(["sent", "send_again", "skip"])


class EventSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    action = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]


class TemplatePatch(Strict):
    name = serializers.CharField(max_length=80)
    body = Text()


class TemplateSerializer(serializers.ModelSerializer[Template]):
    class Meta:
        model = Template
        fields = ("id", "name", "body", "updated_at")


CampaignPage = page_of(CampaignSerializer)
MessagePage = page_of(MessageSerializer)
EventPage = page_of(EventSerializer)
TemplatePage = page_of(TemplateSerializer)

STATS = {
    "audience": 120, "queued": 100, "claimed": 1, "sent": 18, "failed": 0, "unknown": 0,
    "skipped": 1, "cancelled": 0,
}  # fmt: skip
STATUS = {
    "campaign_id": 12, "name": "Autumn", "status": "running", "sub_status": "outside_window",
    "reason": "It is outside the campaign's sending hours.",
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


def shown(campaigns: list[Campaign]) -> list[dict[str, Any]]:
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
            "text": texts.get(row.pk, ""),
            "audience": row.audience,
            "account_ids": accounts.get(row.pk, []),
            "limit": row.limit,
            "min_score": row.min_score,
            "window": row.window or None,
            "stats": stats_of(row.counts),
            "created_at": iso(row.created_at),
            "started_at": iso(row.started_at),
            "finished_at": iso(row.finished_at),
        }
        for row in campaigns
    ]


def _message(row: Message, *, may_read: bool) -> dict[str, Any]:
    return {
        "id": row.pk,
        "campaign_id": row.campaign_id,
        "lead": {"id": row.lead_id, "handle": row.lead.handle},
        "account_id": row.account_id,
        "step": row.step_number,
        "state": row.state,
        "reason": row.reason,
        "reason_text": row.why,
        "error": row.error,
        "attempts": row.attempts,
        "text": (row.text or None) if may_read else None,
        "due_at": iso(row.due_at),
        "sent_at": iso(row.sent_at),
    }


class CampaignsView(ApiView):
    def campaigns(self) -> QuerySet[Campaign]:
        return self.tenant.campaigns.select_related("counts", "tenant")

    def campaign(self, pk: int) -> Campaign:
        return one(self.campaigns(), pk)

    def show(self, pk: int, status: int = 200) -> Response:
        return Response(shown([self.campaign(pk)])[0], status=status)

    def status_answer(self, pk: int, status: int = 202) -> Response:
        return Response(status_of(self.campaign(pk), timezone.now()), status=status)


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
        return self.page(rows, ("-pk",), query, shown)

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
            by=self.by,
            now=timezone.now(),
        )
        return self.show(pk)


class CampaignStart(CampaignsView):
    @operation(
        "campaigns:launch", "campaigns.launch", tag=TAG, summary="Start a draft",
        answer=CampaignStatusSerializer, status=202, example=STATUS,
        text="409 `already_started` for the second of two starts.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.start_campaign(self.campaign(pk), by=self.by, now=timezone.now())
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


class CampaignMessages(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, query=MessageQuery, answer=MessagePage,
        summary="List a campaign's messages in the order of its audience",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        campaign = self.campaign(pk)
        query = self.query(MessageQuery)
        rows = campaign.messages.select_related("lead")
        if query["state"]:
            rows = rows.filter(state=query["state"])
        may_read = self.may("campaigns:read", "messages.view_text")
        return self.page(
            rows,
            ("position", "pk"),
            query,
            lambda found: [_message(row, may_read=may_read) for row in found],
        )


class CampaignEvents(CampaignsView):
    @operation(
        "campaigns:read", "campaigns.view", tag=TAG, query=PageQuery, answer=EventPage,
        summary="List what was done to a campaign, the newest first",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        campaign = self.campaign(pk)
        rows = AuditEntry.objects.filter(
            object_type=campaign._meta.label_lower, object_id=campaign.pk
        )
        return self.page(rows, ("-pk",), self.query(), _events)


def _events(rows: list[AuditEntry]) -> list[dict[str, Any]]:
    return [
        {
            "id": row.pk,
            "at": iso(row.at),
            "actor": row.actor,
            "action": row.action,
            "data": row.data,
        }
        for row in rows
    ]


# --- Messages ---------------------------------------------------------------------------------


class MessagesView(ApiView):
    def message(self, pk: int) -> Message:
        return one(self.tenant.messages.select_related("lead"), pk)

    def show(self, pk: int) -> Response:
        may_read = self.may("campaigns:write", "messages.view_text")
        return Response(_message(self.message(pk), may_read=may_read))


class MessageRetry(MessagesView):
    @operation(
        "campaigns:write", "messages.resolve", tag="Messages", summary="Send a failed one again",
        answer=MessageSerializer,
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        actions.retry_message(self.message(pk), by=self.by, now=timezone.now())
        return self.show(pk)


class MessageResolve(MessagesView):
    @operation(
        "campaigns:write", "messages.resolve", tag="Messages", body=ResolveRequest,
        summary="Say what became of one whose outcome is unknown",
        answer=MessageSerializer, sent={"outcome": "sent"},
        text="409 `already_resolved` for the second of two people.",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        message = self.message(pk)
        outcome = self.given(ResolveRequest)["outcome"]
        actions.resolve_message(message, outcome, by=self.by, now=timezone.now())
        return self.show(pk)


# --- Templates --------------------------------------------------------------------------------


class Templates(ApiView):
    @operation(
        "campaigns:read", "campaigns.view", tag="Templates", summary="List the texts",
        query=PageQuery, answer=TemplatePage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.tenant.templates.all(),
            ("pk",),
            self.query(),
            lambda rows: TemplateSerializer(rows, many=True).data,
        )

    @operation(
        "campaigns:write", "campaigns.edit", tag="Templates", summary="Add a text",
        body=TemplatePatch, answer=TemplateSerializer, status=201,
        sent={"name": "First", "body": "{{Oi|Olá}} {first_name|você}!"},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(TemplatePatch)
        row = library.add_template(self.tenant, **given, by=self.by, now=timezone.now())
        return Response(TemplateSerializer(row).data, status=201)


class TemplateDetail(ApiView):
    @operation(
        "campaigns:read", "campaigns.view", tag="Templates", summary="Read a text",
        answer=TemplateSerializer,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(TemplateSerializer(one(self.tenant.templates.all(), pk)).data)

    @operation(
        "campaigns:write", "campaigns.edit", tag="Templates", summary="Change a text",
        body=TemplatePatch, answer=TemplateSerializer, sent={"body": "Olá {first_name|você}!"},
        text="Campaigns keep the text they were made with.",
    )  # fmt: skip
    def patch(self, request: Request, pk: int) -> Response:
        row = one(self.tenant.templates.all(), pk)
        given = self.given(TemplatePatch, partial=True)
        library.edit_template(
            row,
            name=given.get("name", row.name),
            body=given.get("body", row.body),
            by=self.by,
            now=timezone.now(),
        )
        return Response(TemplateSerializer(row).data)
