"""/api/v1/icp: the description of the ideal customer, in versions."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, operation
from agenticos.api.problems import Problem
from agenticos.api.shapes import PageQuery, Strict, page_of
from leads import actions, scoring, whatif
from leads.models import Band, Icp, IcpVersion

TAG = "ICP"
CONFIG = {key: value for key, value in scoring.SCHEMA.items() if key not in ("$schema", "$id")}


@extend_schema_field(CONFIG)
class ConfigField(serializers.Field):  # type: ignore[type-arg]  # generic in the stubs alone
    """A configuration of the scoring; what it does not name takes its default."""

    def to_internal_value(self, data: Any) -> scoring.IcpConfig:
        try:
            return scoring.IcpConfig.from_json(data)
        except scoring.BadConfig as error:
            text = _("Expected is %(expected)s.") % {"expected": error.expected}
            raise serializers.ValidationError(
                {error.path: [text]} if error.path else [text]
            ) from None

    def to_representation(self, value: Any) -> Any:
        return value


class IcpRequest(Strict):
    config = ConfigField()
    note = serializers.CharField(max_length=200, default="", allow_blank=True)


class IcpVersionSerializer(serializers.ModelSerializer[IcpVersion]):
    config = ConfigField()
    version = serializers.IntegerField(source="number")
    state = serializers.ChoiceField(
        IcpVersion.State.choices,
        help_text="`scoring`: the leads are being scored under it, and the old one serves.",
    )

    class Meta:
        model = IcpVersion
        fields = ("version", "state", "note", "config", "created_at", "published_at", "scored")


IcpVersionPage = page_of(IcpVersionSerializer)


class IcpView(ApiView):
    @operation(
        "icp:read", "icp.view", tag=TAG, summary="Read the version in force",
        answer=IcpVersionSerializer, text="404 `no_icp` before the first one.",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        icp = Icp.objects.select_related("live").first()
        if icp is None:
            raise Problem(404, "no_icp", _("There is no ICP yet. Publish one."))
        return Response(IcpVersionSerializer(icp.live).data)

    @operation(
        "icp:write", "icp.edit", tag=TAG, summary="Publish a new version", body=IcpRequest,
        answer=IcpVersionSerializer,
        sent={"config": {"thresholds": {"hot": 75}}, "note": "Fewer, better"},
        text=(
            "In force once every lead has its score under it: until then its state is `scoring`. "
            "409 `icp_scoring` while another one is."
        ),
    )  # fmt: skip
    def put(self, request: Request) -> Response:
        given = self.given(IcpRequest)
        version = actions.publish_icp(
            self.tenant, given["config"], note=given["note"], by=self.by, now=timezone.now()
        )
        return Response(IcpVersionSerializer(version).data)


class IcpVersions(ApiView):
    @operation(
        "icp:read", "icp.view", tag=TAG, summary="List the versions, the newest first",
        query=PageQuery, answer=IcpVersionPage,
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.page(
            self.tenant.icp_versions.all(),
            ("-number",),
            self.query(),
            lambda rows: IcpVersionSerializer(rows, many=True).data,
        )


class IcpRestore(ApiView):
    @operation(
        "icp:write", "icp.edit", tag=TAG, answer=IcpVersionSerializer,
        summary="Publish an old version's configuration as a new version",
    )  # fmt: skip
    def post(self, request: Request, number: int) -> Response:
        old = self.tenant.icp_versions.filter(number=number).first()
        if old is None:
            raise Problem(404, "not_found", _("There is nothing here under this address."))
        version = actions.publish_icp(
            self.tenant,
            old.config,
            note=_("As version %(number)d") % {"number": number},
            by=self.by,
            now=timezone.now(),
        )
        return Response(IcpVersionSerializer(version).data)


# --- What if ----------------------------------------------------------------------------------


class PreviewRequest(Strict):
    config = ConfigField()


class BandMoveSerializer(serializers.Serializer[Any]):
    band = serializers.ChoiceField(
        Band.choices, allow_null=True, help_text="null: no score so far."
    )
    new_band = serializers.ChoiceField(Band.choices)
    leads = serializers.IntegerField()


class MoverSerializer(serializers.Serializer[Any]):
    lead_id = serializers.IntegerField()
    score = serializers.IntegerField(allow_null=True)
    band = serializers.ChoiceField(Band.choices, allow_null=True)
    new_score = serializers.IntegerField()
    new_band = serializers.ChoiceField(Band.choices)
    new_reason = serializers.CharField(help_text="Why it would not be eligible; a code, or empty.")


class PreviewSerializer(serializers.Serializer[Any]):
    """What publishing the configuration would do to every lead."""

    leads = serializers.IntegerField()
    changed = serializers.IntegerField(help_text="Leads whose score differs.")
    moved = serializers.IntegerField(help_text="Leads that change their band.")
    eligible_before = serializers.IntegerField()
    eligible_after = serializers.IntegerField()
    bands = BandMoveSerializer(many=True, help_text="Old and new band; those that stay, too.")
    not_eligible = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many would not be, by reason."
    )
    movers = MoverSerializer(many=True, help_text="The 50 that change most.")
    unused_keywords = serializers.ListField(
        child=serializers.CharField(), help_text="Added ones that no lead has."
    )

    class Meta:
        ref_name = "IcpPreview"


class IcpPreview(ApiView):
    @operation(
        "icp:read", "icp.edit", tag=TAG, body=PreviewRequest, answer=PreviewSerializer,
        summary="Ask what a configuration would do to the scores",
        sent={"config": {"thresholds": {"hot": 75}}},
        text="Exact for every lead, and stores nothing.",
        example={
            "leads": 500, "changed": 12, "moved": 3, "eligible_before": 480,
            "eligible_after": 480, "bands": [{"band": "WARM", "new_band": "HOT", "leads": 3}],
            "not_eligible": {"private": 20}, "unused_keywords": [],
            "movers": [{
                "lead_id": 7, "score": 68, "band": "WARM", "new_score": 76, "new_band": "HOT",
                "new_reason": "",
            }],
        },
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        config = self.given(PreviewRequest)["config"]
        found = whatif.effect(config)
        movers, _cursor = whatif.movers(config)
        bands = [
            {"band": old or None, "new_band": new, "leads": leads}
            for (old, new), leads in sorted(found.moves.items())
        ]
        return Response(
            {
                "leads": found.leads,
                "changed": found.changed,
                "moved": found.moved,
                "eligible_before": found.eligible_before,
                "eligible_after": found.eligible_after,
                "bands": bands,
                "not_eligible": {why: leads for why, leads in found.reasons.items() if why},
                "movers": [
                    {
                        "lead_id": move.lead_id,
                        "score": move.total if move.band else None,
                        "band": move.band or None,
                        "new_score": move.new_total,
                        "new_band": move.new_band,
                        "new_reason": move.why,
                    }
                    for move in movers
                ],
                "unused_keywords": found.unused,
            }
        )
