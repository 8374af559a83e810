"""What goes in and comes out everywhere: strict bodies, the query of a list, a page, a problem."""

from __future__ import annotations

from typing import Any, Final

from django.utils.translation import gettext as _
from rest_framework import serializers

LIMIT: Final = 200  # rows of a page at most
SIZE: Final = 50


class Strict(serializers.Serializer[Any]):
    """A serializer that refuses names it does not know, and values of another kind.

    A typing mistake must not pass, and what the document forbids is not taken either.
    """

    of_text = False  # whether all values come as text, as in a query or a form

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            wrong = {key: [_("There is no such field.")] for key in data if key not in self.fields}
            if not wrong and not self.of_text:
                wrong = {
                    key: [_("This is of another kind than the field.")]
                    for key, value in data.items()
                    if not _is_of_kind(self.fields[key], value)
                }
            if not wrong:
                # Before blanks are cut off its ends: what the document calls too long is.
                wrong = {
                    key: [_("This is longer than %(limit)s characters.") % {"limit": limit}]
                    for key, value in data.items()
                    if (limit := getattr(self.fields[key], "max_length", None))
                    and isinstance(value, str)
                    and len(value) > limit
                }
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


_KINDS: tuple[tuple[type[Any], tuple[type, ...]], ...] = (
    (serializers.BooleanField, (bool,)),
    (serializers.IntegerField, (int, float)),  # 5.0 is a whole number; the field refuses 5.1
    (serializers.FloatField, (int, float)),
    (serializers.DecimalField, (int, float)),
    (serializers.CharField, (str,)),
    (serializers.ChoiceField, (str,)),
)


def _is_of_kind(field: Any, value: Any) -> bool:
    """Whether a JSON value is of the field's kind: REST framework takes “5” for a number."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return all(_is_of_kind(field.child, item) for item in value)
    kinds = next((kinds for kind, kinds in _KINDS if isinstance(field, kind)), None)
    if value is None or kinds is None:
        return True  # the field itself says whether it may be so
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


class PageQuery(Strict):
    """What every list takes."""

    of_text = True

    limit = serializers.IntegerField(
        min_value=1, max_value=LIMIT, default=SIZE, help_text="Rows of a page."
    )
    cursor = serializers.CharField(
        default="", allow_blank=True, help_text="`next` of the page before; opaque."
    )
    total = serializers.ChoiceField(
        ["0", "1"], default="0", help_text="1: count all rows into `total`. Costs time."
    )


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457, with a `code` for programs."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="A sentence for people, in the reader's language.")
    code = serializers.CharField(help_text="Stable, in snake_case.")
    errors = serializers.DictField(  # type: ignore[assignment]  # shadows Serializer's attribute on purpose
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="By field, with dots between levels.",
    )
    request_id = serializers.CharField()

    class Meta:
        ref_name = "Problem"


def page_of(rows: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """The serializer of a page of `rows`."""
    name = rows.__name__.removesuffix("Serializer")
    return type(
        f"{name}PageSerializer",
        (serializers.Serializer,),
        {
            "items": rows(many=True),
            "next": serializers.CharField(
                allow_null=True, help_text="The cursor of the next page; null on the last one."
            ),
            "total": serializers.IntegerField(required=False, help_text="Only with `total=1`."),
        },
    )
