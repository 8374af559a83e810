"""/api/v1/icp: the description of the ideal customer, in versions."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import ApiView, PageQuery, Strict, operation, page_of
from agenticos.api.problems import Problem
from leads import actions, scoring
from leads.models import Icp, IcpVersion

TAG = "ICP"
CONFIG = {key: value for key, value in scoring.SCHEMA.items() if key not in ("$schema", "$id")}


@extend_schema_field(CONFIG)
class ConfigField(serializers.Field):  # type: ignore[type-arg]
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
