"""The JSON Schema of an ICP configuration, for whoever writes one outside of the pages."""

from __future__ import annotations

from typing import Any, Final

from leads.scoring.config import HANDLES_MAX, KEYWORD_LENGTH, KEYWORDS_MAX
from leads.scoring.values import CRITERIA, GROUPS

_NUMBER: Final[dict[str, Any]] = {"type": "number", "minimum": 0, "maximum": 1_000_000}
_COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": 2_000_000_000}
_PERCENT: Final[dict[str, Any]] = {"type": "number", "minimum": 0, "maximum": 1_000}
_TOTAL: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": 100}
_KEYWORD: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": KEYWORD_LENGTH,
    "description": "Words to find, accents and case ignored; may end in * to match a beginning.",
}
_KEYWORDS: Final[dict[str, Any]] = {
    "type": "array",
    "items": _KEYWORD,
    "maxItems": KEYWORDS_MAX,
    "uniqueItems": True,
}


def _object(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "properties": properties,
    }


SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Ideal customer profile",
    **_object(
        {
            "weights": _object(
                dict.fromkeys(GROUPS, _NUMBER),
                "What each group is worth; at least one above 0. Default 30, 30, 25, 15.",
            ),
            "thresholds": _object(
                {"hot": _TOTAL, "warm": _TOTAL, "cold": _TOTAL},
                "Least total of each band: hot >= warm >= cold. Default 70, 50, 40.",
            ),
            "decision_maker_keywords": {**_KEYWORDS, "description": "Found in bio or name."},
            "business_words": {**_KEYWORDS, "description": "Found in the bio."},
            "locations": {
                "description": "Found in the bio: keywords, or keyword -> name to show.",
                "anyOf": [
                    _KEYWORDS,
                    {
                        "type": "object",
                        "maxProperties": KEYWORDS_MAX,
                        "additionalProperties": {
                            "type": "string", "minLength": 1, "maxLength": KEYWORD_LENGTH
                        },
                    },
                ],
            },
            "interests": {
                "type": "object",
                "description": "Found in the bio: group -> keywords.",
                "maxProperties": KEYWORDS_MAX,
                "additionalProperties": _KEYWORDS,
            },
            "followers": _object(
                {"min": _COUNT, "max": _COUNT, "ideal_min": _COUNT, "ideal_max": _COUNT},
                "min <= ideal_min <= ideal_max <= max. Default 200, 500, 50000, 100000.",
            ),
            "engagement": _object(
                {"min": _PERCENT, "ideal": _PERCENT},
                "Rates in percent, min <= ideal. Default 1, 2.",
            ),
            "gates": _object(
                {
                    "skip_private": {"type": "boolean"},
                    "require_bio": {"type": "boolean"},
                    "require_business": {"type": "boolean"},
                },
                "Which profiles are not eligible. Default true, false, false.",
            ),
            "blocklist": _object(
                {
                    "handles": {
                        "type": "array", "items": {"type": "string"}, "maxItems": HANDLES_MAX
                    },
                    "words": _KEYWORDS,
                },
                "Never eligible: these handles, and profiles with these words.",
            ),
            "off": {
                "type": "array",
                "description": "Criteria left out; the others of the group share its weight.",
                "items": {"enum": [criterion for _group, criterion, _maximum in CRITERIA]},
                "uniqueItems": True,
            },
        },
        "Absent keys take their defaults.",
    ),
}  # fmt: skip
