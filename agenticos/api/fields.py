"""Fields that bodies of campaigns and texts have: handles, an audience, hours, a text."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agenticos.api.shapes import Strict
from campaigns import pacing, rendering
from leads.identities import normalise_handle
from leads.models import Band

HANDLES_MAX = 500


@extend_schema_field(
    {
        "oneOf": [
            {"type": "array", "items": {"type": "string"}, "maxItems": HANDLES_MAX},
            {"type": "string"},
        ]
    }
)
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
