"""/api/v1/leads, imports and suppressions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api import parsing
from agenticos.api.base import ApiView, PageQuery, Strict, one, operation, page_of
from agenticos.api.problems import Problem, bad_input
from leads import actions, editing, importing, scoring
from leads.filters import NO_BAND, LeadFilter
from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.importing.limits import MAX_COUNT, MAX_PERCENT, TEXT_LIMITS
from leads.models import Band, Icp, ImportProblem, Lead, LeadImport

BULK_MAX = 1_000
TAG = "Leads"


# --- Shapes -----------------------------------------------------------------------------------


def _text(limit: int, **options: Any) -> serializers.CharField:
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

    name = _text(TEXT_LIMITS["name"])
    bio = _text(TEXT_LIMITS["bio"])
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
    category = _text(TEXT_LIMITS["category"])
    frequency = _text(TEXT_LIMITS["frequency"])
    email = _text(254)
    phone = _text(40, help_text="Stored as E.164; without a country code it is Brazilian.")
    city = _text(TEXT_LIMITS["city"])
    website = _text(importing.limits.WEBSITE_LIMIT)
    ghl_id = _text(importing.limits.GHL_ID_LIMIT, help_text="The contact's id in GoHighLevel.")

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
            raise serializers.ValidationError(_not_right(code))
        return str(read.values.get(name, ""))


class LeadCreate(LeadPatch):
    """A new lead."""

    handle = serializers.CharField(
        max_length=300, help_text="An Instagram handle, or the address of a profile."
    )

    def validate_handle(self, value: str) -> str:
        return _clean(value, normalise_handle(value), "bad_handle", value=value[:60])


def _clean(given: str, found: str | None, code: str, **params: str) -> str:
    if found is None:
        raise serializers.ValidationError(_not_right(code, **params))
    return found


def _not_right(code: str, **params: str) -> str:
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

    class Meta:
        model = Lead
        fields = (
            "id", *importing.FIELDS, "source", "score", "band", "eligible", "suppressed_at",
            "first_touch_at", "created_at", "updated_at",
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
    order = serializers.ChoiceField(
        ["id", "score"],
        default="id",
        help_text=(
            "`id`: oldest first; nothing is seen twice or missed while leads come in. `score`: "
            "best first, scored leads alone."
        ),
    )


class BulkRequest(Strict):
    """Up to 1 000 leads; each row has a `handle` or a `profile_url`."""

    leads = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=BULK_MAX)
    list_name = serializers.CharField(
        max_length=80, default="", allow_blank=True, help_text="A tag for the leads of this call."
    )

    def to_internal_value(self, data: Any) -> Any:
        rows = data.get("leads") if isinstance(data, dict) else None
        if not isinstance(rows, list):
            return super().to_internal_value(data)
        # A row that is no object is that row's outcome, not the whole request's.
        found = super().to_internal_value({**data, "leads": [{}] * len(rows)})
        found["leads"] = rows
        return found


class BulkProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    reason = serializers.CharField()


class BulkRowSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="The place in `leads`, from 0.")
    outcome = serializers.ChoiceField(["created", "updated", "unchanged", "rejected"])
    id = serializers.IntegerField(allow_null=True)
    handle = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True, help_text="Why it was rejected.")
    reason = serializers.CharField(allow_null=True)
    warnings = BulkProblemSerializer(many=True, help_text="What was left out of the row.")


class BulkAnswerSerializer(serializers.Serializer[Any]):
    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    rejected = serializers.IntegerField()
    rows = BulkRowSerializer(many=True)


class ScoreLineSerializer(serializers.Serializer[Any]):
    group = serializers.CharField()
    criterion = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    points = serializers.IntegerField()
    maximum = serializers.IntegerField()
    evidence = serializers.CharField(help_text="What it was found in, for people.")
    missing = serializers.BooleanField(help_text="Nothing was known to judge it by.")


class ScoreSerializer(serializers.Serializer[Any]):
    """A score with its breakdown: the points of the lines sum to `total`."""

    lead_id = serializers.IntegerField()
    icp_version = serializers.IntegerField()
    total = serializers.IntegerField()
    band = serializers.ChoiceField(Band.choices)
    eligible = serializers.BooleanField()
    reason = serializers.CharField(help_text="Why it is not eligible; a code, or empty.")
    lines = ScoreLineSerializer(many=True)


class SuppressRequest(Strict):
    """Why this person must not be written to."""

    reason = serializers.CharField(max_length=40, default="api")


class SuppressionRequest(SuppressRequest):
    """One or more identities of a person that must not be written to."""

    handle = _text(300)
    email = _text(254)
    phone = _text(40)


class SuppressionAnswerSerializer(serializers.Serializer[Any]):
    leads_stopped = serializers.IntegerField(help_text="Leads that this newly stops.")


class ImportSerializer(serializers.ModelSerializer[LeadImport]):
    percent = serializers.IntegerField()

    class Meta:
        model = LeadImport
        fields = (
            "id", "file_name", "list_name", "state", "percent", "records", "created", "updated",
            "unchanged", "rejected", "warned", "error", "created_at", "finished_at",
        )  # fmt: skip


class ImportRequest(Strict):
    """A CSV file, in UTF-8, UTF-16 or Windows-1252; its columns are recognised by name."""

    file = serializers.FileField(help_text="At most 64 MB.")
    list_name = serializers.CharField(max_length=80, default="", allow_blank=True)


class ImportProblemSerializer(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    rejected = serializers.BooleanField()
    code = serializers.CharField()
    sentence = serializers.CharField()


LeadPage = page_of(LeadSerializer)
ImportPage = page_of(ImportSerializer)
ImportProblemPage = page_of(ImportProblemSerializer)

LEAD = {
    "id": 7, "handle": "ana.silva", "name": "Ana Silva", "bio": "CEO | São Paulo",
    "followers": 5200, "following": 410, "posts": 230, "recent_posts": 9, "engagement": 3.4,
    "is_private": False, "is_business": True, "is_verified": None, "category": "Empresa",
    "frequency": "", "email": "ana@example.com", "phone": "+5511988887777", "city": "São Paulo",
    "website": "https://ana.example", "ghl_id": "", "source": "api", "score": 82, "band": "HOT",
    "eligible": True, "suppressed_at": None, "first_touch_at": None,
    "created_at": "2026-03-04T12:00:00-03:00", "updated_at": "2026-03-04T12:00:00-03:00",
}  # fmt: skip


# --- Leads ------------------------------------------------------------------------------------


class LeadsView(ApiView):
    """Leads that it reads come with their score in the same statement."""

    def leads(self) -> Any:
        version = Icp.objects.values_list("live_id", flat=True).first()
        return self.tenant.leads.scored_under(version or 0)

    def lead(self, pk: int) -> Lead:
        found: Lead = one(self.leads(), pk)
        return found


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
        if query["tag"]:
            leads = leads.filter(tags__name=query["tag"])
        by_score = query["order"] == "score"
        if query["band"] or by_score:
            leads = LeadFilter.in_band(leads, query["band"])
        order = ("-total", "pk") if by_score and query["band"] != NO_BAND else ("pk",)
        return self.page(leads, order, query, lambda rows: LeadSerializer(rows, many=True).data)

    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Add a lead", body=LeadCreate, status=201,
        answer=LeadSerializer, example=LEAD,
        text="It is scored at once. 409 `lead_exists` if the handle is known.",
        sent={"handle": "@ana.silva", "name": "Ana Silva", "followers": 5200},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        lead = editing.add_lead(self.tenant, self.given(LeadCreate), by=self.by, now=timezone.now())
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
        values = self.given(LeadPatch, partial=True)
        editing.edit_lead(lead, values, by=self.by, now=timezone.now())
        return Response(LeadSerializer(self.lead(pk)).data)


class LeadsBulk(ApiView):
    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Create and update up to 1 000 leads",
        body=BulkRequest, answer=BulkAnswerSerializer,
        text=(
            "By handle, as an import does: a row changes only what it has a value for. Every row "
            "has its own outcome; a bad row stops nobody else. A bare array of rows is taken too."
        ),
        sent={"leads": [{"handle": "@ana.silva", "followers": 5200}, {"handle": "bad handle!"}]},
        example={
            "created": 1, "updated": 0, "unchanged": 0, "rejected": 1,
            "rows": [
                {"row": 0, "outcome": "created", "id": 7, "handle": "ana.silva", "code": None,
                 "reason": None, "warnings": []},
                {"row": 1, "outcome": "rejected", "id": None, "handle": None, "code": "bad_handle",
                 "reason": "“bad handle!” is not an Instagram handle: 1 to 30 letters, digits, "
                           "dots and underscores.", "warnings": []},
            ],
        },
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        sent: Any = request.data  # the body may be the bare list, too
        read = BulkRequest(data={"leads": sent} if isinstance(sent, list) else sent)
        read.is_valid(raise_exception=True)
        outcomes = editing.upsert_leads(
            self.tenant,
            read.validated_data["leads"],
            list_name=" ".join(read.validated_data["list_name"].split()),
            by=self.by,
            now=timezone.now(),
        )
        names = [one.outcome for one in outcomes]
        kinds = ("created", "updated", "unchanged", "rejected")
        rows = [_bulk_row(place, one) for place, one in enumerate(outcomes)]
        return Response({**{kind: names.count(kind) for kind in kinds}, "rows": rows})


def _bulk_row(place: int, one: editing.Outcome) -> dict[str, Any]:
    rejected = one.outcome == "rejected"
    code, reason = one.problems[0] if rejected else (None, None)
    return {
        "row": place,
        "outcome": one.outcome,
        "id": one.lead_id,
        "handle": one.handle or None,
        "code": code,
        "reason": reason,
        "warnings": []
        if rejected
        else [{"code": code, "reason": reason} for code, reason in one.problems],
    }


class LeadScoreView(LeadsView):
    @operation(
        "leads:read", "leads.view", tag=TAG, summary="Read a lead's score and where it comes from",
        answer=ScoreSerializer, text="404 `not_scored` while it has none.",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        lead = self.lead(pk)
        icp = Icp.objects.select_related("live").first()
        score = lead.scores.filter(version=icp.live).first() if icp else None
        if icp is None or score is None:
            raise Problem(404, "not_scored", _("This lead has no score yet."))
        lines = [
            {
                "group": line.group,
                "criterion": line.criterion,
                "label": str(scoring.CRITERION_LABELS[line.criterion]),
                "points": line.points,
                "maximum": line.maximum,
                "evidence": str(scoring.evidence_text(line)),
                "missing": line.missing,
            }
            for line in scoring.from_compact(score.breakdown)
        ]
        return Response(
            {
                "lead_id": lead.pk,
                "icp_version": icp.live.number,
                "total": score.total,
                "band": score.band,
                "eligible": score.eligible,
                "reason": score.reason,
                "lines": lines,
            }
        )


class LeadSuppress(LeadsView):
    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Never write to a lead again",
        body=SuppressRequest, answer=SuppressionAnswerSerializer, sent={"reason": "asked"},
        example={"leads_stopped": 1},
        text=(
            "Suppresses every identity that is known of the lead: handle, e-mail and phone. Other "
            "leads with the same ones are stopped too. Again: nothing changes."
        ),
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        lead = self.lead(pk)
        stopped = actions.suppress(
            self.tenant,
            handle=lead.handle,
            email=lead.email,
            phone=lead.phone,
            reason=self.given(SuppressRequest)["reason"],
            by=self.by,
            now=timezone.now(),
        )
        return Response({"leads_stopped": stopped})


class Suppressions(ApiView):
    @operation(
        "leads:write", "leads.edit", tag=TAG, summary="Never write to these identities",
        body=SuppressionRequest, answer=SuppressionAnswerSerializer, status=201,
        sent={"handle": "@ana.silva", "email": "ana@example.com", "reason": "asked"},
        example={"leads_stopped": 1},
        text="Kept as keyed hashes: they hold for leads that come later, and after an erasure.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(SuppressionRequest)
        reading = (
            ("handle", normalise_handle, "bad_handle"),
            ("email", normalise_email, "bad_email"),
            ("phone", normalise_phone, "bad_phone"),
        )
        wrong = {
            name: [_not_right(code, value=given[name][:60])]
            for name, read, code in reading
            if given.get(name) and read(given[name]) is None
        }
        if not wrong and not any(given.get(name) for name, _read, _code in reading):
            wrong = {"": [_("Give a handle, an e-mail or a phone number.")]}
        if wrong:
            raise bad_input(wrong)
        stopped = actions.suppress(self.tenant, **given, by=self.by, now=timezone.now())
        return Response({"leads_stopped": stopped}, status=201)


# --- Imports ----------------------------------------------------------------------------------


class StrictMultiPartParser(MultiPartParser):
    """A form with a file."""

    def parse(self, *args: Any, **options: Any) -> Any:
        context = options.get("parser_context") or args[2]
        length = context["request"].headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > importing.MAX_BYTES + parsing.MAX_BYTES:
            limit = {"limit": (importing.MAX_BYTES + parsing.MAX_BYTES) // 1024}
            raise Problem(400, "body_too_large", _("The body is over %(limit)s KB.") % limit)
        found = super().parse(*args, **options)
        for name, values in found.data.lists():
            for text in (name, *values):
                parsing.check_text(text)
        return found


class Imports(ApiView):
    parser_classes = [StrictMultiPartParser]

    @operation(
        "leads:read", "leads.view", tag="Imports", summary="List imports, the newest first",
        query=PageQuery, answer=ImportPage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.tenant.imports.all(),
            ("-pk",),
            self.query(),
            lambda rows: ImportSerializer(rows, many=True).data,
        )

    @operation(
        "leads:write", "leads.import", tag="Imports", summary="Import a CSV file of leads",
        body={"multipart/form-data": ImportRequest}, answer=ImportSerializer, status=202,
        text="The workers read it; ask the import how far it is. 409 if it cannot be read at all.",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        given = self.given(ImportRequest)
        file: UploadedFile = given["file"]
        if (file.size or 0) > importing.MAX_BYTES:
            limit = importing.MAX_BYTES // 1024**2
            raise bad_input({"file": [importing.sentence_for("file_too_large", {"limit": limit})]})
        begun = actions.start_import(
            self.tenant,
            file,
            file.name,
            list_name=given["list_name"],
            by=self.by,
            now=timezone.now(),
        )
        return Response(ImportSerializer(begun).data, status=202)


class ImportDetail(ApiView):
    @operation(
        "leads:read", "leads.view", tag="Imports", summary="Read an import",
        answer=ImportSerializer,
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        return Response(ImportSerializer(one(self.tenant.imports.all(), pk)).data)


class ImportProblems(ApiView):
    @operation(
        "leads:read", "leads.view", tag="Imports", query=PageQuery, answer=ImportProblemPage,
        summary="List the rows of an import that were refused or taken with something left out",
    )  # fmt: skip
    def get(self, request: Request, pk: int) -> Response:
        begun = one(self.tenant.imports.all(), pk)
        return self.page(begun.problems.all(), ("line", "pk"), self.query(), _problems)


def _problems(rows: list[ImportProblem]) -> list[dict[str, Any]]:
    return [
        {
            "line": row.line,
            "rejected": row.rejected,
            "code": row.code,
            "sentence": importing.sentence_for(row.code, row.params),
        }
        for row in rows
    ]
