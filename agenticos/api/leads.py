"""/api/v1/leads."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import transaction
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ID_MAX, ApiView, one, operation
from agenticos.api.problems import bad_input
from agenticos.api.shapes import PageQuery, Strict, page_of
from leads import editing, importing, removal, viewing
from leads.filters import NO_BAND, NOBODY, LeadFilter
from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.importing.limits import MAX_COUNT, MAX_PERCENT, TEXT_LIMITS
from leads.models import Band, Icp, Lead
from tenants.models import Membership, Tenant

TAG = "Leads"


# --- Shapes -----------------------------------------------------------------------------------


def text_field(limit: int, **options: Any) -> serializers.CharField:
    return serializers.CharField(
        max_length=limit, allow_blank=True, allow_null=True, required=False, **options
    )


def _count(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(
        min_value=0, max_value=MAX_COUNT, allow_null=True, required=False, **options
    )


def _flag() -> serializers.BooleanField:
    return serializers.BooleanField(allow_null=True, required=False)


class LeadPatch(Strict):
    """A lead's fields; null or "" means that it is not known."""

    name = text_field(TEXT_LIMITS["name"])
    bio = text_field(TEXT_LIMITS["bio"])
    followers = _count()
    following = _count()
    posts = _count()
    recent_posts = _count(help_text="Posts of the last 30 days.")
    engagement = serializers.DecimalField(
        max_digits=9,
        decimal_places=4,
        min_value=Decimal(0),
        max_value=Decimal(MAX_PERCENT),
        allow_null=True,
        required=False,
        help_text="Percent.",
    )
    is_private = _flag()
    is_business = _flag()
    is_verified = _flag()
    category = text_field(TEXT_LIMITS["category"])
    frequency = text_field(TEXT_LIMITS["frequency"])
    email = text_field(254)
    phone = text_field(40, help_text="Stored as E.164; without a country code it is Brazilian.")
    city = text_field(TEXT_LIMITS["city"])
    website = text_field(importing.limits.WEBSITE_LIMIT)
    ghl_id = text_field(importing.limits.GHL_ID_LIMIT, help_text="The contact's id in GoHighLevel.")
    owner = text_field(254, help_text="Who in the team answers for it: a member's e-mail address.")

    def validate_owner(self, value: str | None) -> Membership | None:
        return _member(self.context["tenant"], value) if value else None

    def validate_email(self, value: str) -> str:
        return _clean(value, normalise_email(value) if value else "", "bad_email")

    def validate_phone(self, value: str) -> str:
        return _clean(value, normalise_phone(value) if value else "", "bad_phone")

    def validate_website(self, value: str) -> str:
        return self._as_cell("website", value)

    def validate_ghl_id(self, value: str) -> str:
        return self._as_cell("ghl_id", value)

    @staticmethod
    def _as_cell(name: str, value: str) -> str:
        read = importing.read_object(0, {"handle": "x", name: value})
        if not isinstance(read, importing.Row) or read.warnings:
            code = read.warnings[0] if isinstance(read, importing.Row) else read.code
            raise serializers.ValidationError(not_right(code))
        return str(read.values.get(name, ""))


class LeadCreate(LeadPatch):
    """A new lead."""

    handle = serializers.CharField(
        max_length=300, help_text="An Instagram handle, or the address of a profile."
    )

    def validate_handle(self, value: str) -> str:
        return _clean(value, normalise_handle(value), "bad_handle", value=value[:60])


def _member(tenant: Tenant, email: str) -> Membership:
    """The member with this address. Raises ValidationError, also for somebody of elsewhere."""
    found: Membership | None = tenant.memberships.filter(user__email__iexact=email.strip()).first()
    if found is None:
        raise serializers.ValidationError(_("Nobody in the team has this e-mail address."))
    return found


def _clean(given: str, found: str | None, code: str, **params: str) -> str:
    if found is None:
        raise serializers.ValidationError(not_right(code, **params))
    return found


def not_right(code: str, **params: str) -> str:
    """The importer's sentences speak of what was left out; here nothing is."""
    sentences = {
        "bad_email": _("This is not an e-mail address."),
        "bad_phone": _("This is not a phone number."),
        "bad_website": _("This is not an http address."),
        "bad_ghl_id": _("This is not an id of GoHighLevel."),
    }
    return sentences.get(code) or importing.sentence_for(code, params)


class LeadSerializer(serializers.ModelSerializer[Lead]):
    """A lead, with its score under the ICP version in force."""

    score = serializers.IntegerField(allow_null=True, source="total", min_value=0, max_value=100)
    band = serializers.ChoiceField(Band.choices, allow_null=True)
    eligible = serializers.BooleanField(allow_null=True)
    engagement = serializers.FloatField(allow_null=True)
    owner = serializers.EmailField(
        source="owner.user.email", default=None, allow_null=True, help_text="A member of the team."
    )

    class Meta:
        model = Lead
        fields = (
            "id", *importing.FIELDS, "source", "owner", "score", "band", "eligible",
            "suppressed_at", "first_touch_at", "created_at", "updated_at",
        )  # fmt: skip


class LeadQuery(PageQuery):
    """What narrows the list of leads; the page's own filters."""

    q = serializers.CharField(default="", max_length=200, help_text="In handle or name.")
    band = serializers.ChoiceField(
        [*Band.values, NO_BAND], default="", help_text="`none`: leads without a score."
    )
    tag = serializers.CharField(default="", max_length=80, help_text="A list or tag.")
    eligible = serializers.ChoiceField(["yes", "no"], default="")
    suppressed = serializers.ChoiceField(["yes", "no"], default="")
    owner = serializers.CharField(
        default="", max_length=254, help_text="A member's e-mail address, or `none`: nobody's."
    )
    segment = serializers.IntegerField(
        required=False, min_value=1, max_value=ID_MAX, help_text="The leads of a saved view."
    )
    order = serializers.ChoiceField(
        ["id", "score"],
        default="id",
        help_text=(
            "`id`: oldest first; nothing is seen twice or missed while leads come in. `score`: "
            "best first, scored leads alone."
        ),
    )


LeadPage = page_of(LeadSerializer)

LEAD = {
    "id": 7, "handle": "ana.silva", "name": "Ana Silva", "bio": "CEO | São Paulo",
    "followers": 5200, "following": 410, "posts": 230, "recent_posts": 9, "engagement": 3.4,
    "is_private": False, "is_business": True, "is_verified": None, "category": "Empresa",
    "frequency": "", "email": "ana@example.com", "phone": "+5511988887777", "city": "São Paulo",
    "website": "https://ana.example", "ghl_id": "", "source": "api",
    "owner": "bia@example.com", "score": 82, "band": "HOT",
    "eligible": True, "suppressed_at": None, "first_touch_at": None,
    "created_at": "2026-03-04T12:00:00-03:00", "updated_at": "2026-03-04T12:00:00-03:00",
}  # fmt: skip


# --- Leads ------------------------------------------------------------------------------------


class LeadsView(ApiView):
    """Leads that it reads come with their score in the same statement."""

    def leads(self) -> Any:
        version = Icp.objects.values_list("live_id", flat=True).first()
        return self.tenant.leads.scored_under(version or 0).select_related("owner__user")

    def lead(self, pk: int) -> Lead:
        found: Lead = one(self.leads(), pk)
        return found

    def in_segment(self, leads: Any, pk: int) -> Any:
        """Narrow to a saved view that the key's creator sees. Raises Problem when there is none."""
        view = viewing.views_for(self.tenant, self.by).filter(pk=pk).first()
        if view is None:
            raise bad_input({"segment": [_("There is no saved view with this id.")]})
        return LeadFilter(QueryDict(view.query), tenant=self.tenant).apply(leads)


class Leads(LeadsView):
    @operation(
        "leads:read", "leads.view", tag=TAG, summary="List leads",
        query=LeadQuery, answer=LeadPage, example={"items": [LEAD], "next": None},
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        query = self.query(LeadQuery)
        named = ("q", "eligible", "suppressed")
        found = LeadFilter({name: query[name] for name in named}, tenant=self.tenant)
        leads = found.narrow(self.leads())
        if "segment" in query:
            leads = self.in_segment(leads, query["segment"])
        if query["owner"]:
            leads = leads.filter(owner=self._owner(query["owner"]))
        if query["tag"]:
            leads = leads.filter(tags__name=query["tag"])
        by_score = query["order"] == "score"
        if query["band"] or by_score:
            leads = LeadFilter.in_band(leads, query["band"])
        order = ("-total", "pk") if by_score and query["band"] != NO_BAND else ("pk",)
        return self.page(leads, order, query, lambda rows: LeadSerializer(rows, many=True).data)

    def _owner(self, email: str) -> Membership | None:
        """Who is meant; None for `none`. Raises Problem for an address that no member has."""
        try:
            return None if email == NOBODY else _member(self.tenant, email)
        except serializers.ValidationError as error:
            raise bad_input({"owner": [str(one) for one in error.detail]}) from error

    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Add a lead", body=LeadCreate, status=201,
        answer=LeadSerializer, example=LEAD,
        text="It is scored at once. 409 `lead_exists` if the handle is known.",
        sent={"handle": "@ana.silva", "name": "Ana Silva", "followers": 5200},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        values, now = self.given(LeadCreate), timezone.now()
        owner = values.pop("owner", None)
        with transaction.atomic():
            lead = editing.add_lead(self.tenant, values, by=self.by, now=now)
            if owner:
                editing.assign_lead(lead, owner, by=self.by, now=now)
        return Response(LeadSerializer(self.lead(lead.pk)).data, status=201)


class LeadDetail(LeadsView):
    @operation(
        "leads:read", "leads.view", tag=TAG, summary="Read a lead", answer=LeadSerializer,
        example=LEAD,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(LeadSerializer(self.lead(pk)).data)

    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Change a lead", body=LeadPatch,
        answer=LeadSerializer, example=LEAD, sent={"city": "Campinas", "phone": None},
        text="Changes what the body names, and scores again. The handle stays: it is the identity.",
    )  # fmt: skip
    def patch(self, request: Request, pk: int) -> Response:
        lead = self.lead(pk)
        values, now = self.given(LeadPatch, partial=True), timezone.now()
        named, owner = "owner" in values, values.pop("owner", None)
        with transaction.atomic():
            editing.edit_lead(lead, values, by=self.by, now=now)
            if named:
                editing.assign_lead(lead, owner, by=self.by, now=now)
        return Response(LeadSerializer(self.lead(pk)).data)

    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Delete a lead", status=204,
        text=(
            "409 `lead_has_messages` when a campaign has a message for it: suppress it instead. "
            "Suppressions stay in force."
        ),
    )  # fmt: skip
    def delete(self, request: Request, pk: int) -> Response:
        removal.delete_lead(self.lead(pk), by=self.by, now=timezone.now())
        return Response(status=204)
