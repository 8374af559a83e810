"""/api/v1/leads/{id}/score."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agenticos.api.base import operation
from agenticos.api.leads import TAG, LeadsView
from agenticos.api.problems import Problem
from leads import scoring
from leads.models import Band, Icp


class ScoreLineSerializer(serializers.Serializer[Any]):
    group = serializers.CharField()
    criterion = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # shadows Serializer's attribute on purpose
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
