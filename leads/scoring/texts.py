"""Scores in words for people."""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from leads.scoring.values import Line

GROUP_LABELS: Final[dict[str, Promise]] = {
    "bio": _("Bio"),
    "engagement": _("Engagement"),
    "profile": _("Profile"),
    "recency": _("Recency"),
}

CRITERION_LABELS: Final[dict[str, Promise]] = {
    "title": _("Professional title in the name"),
    "decision_maker": _("Decision maker in bio or name"),
    "business_word": _("Business word in the bio"),
    "location": _("Target location in the bio"),
    "interest": _("Interest in the bio"),
    "follow_ratio": _("Followers per account followed"),
    "followers": _("Number of followers"),
    "engagement_rate": _("Engagement rate in percent"),
    "public": _("Public profile"),
    "bio_length": _("Length of the bio in characters"),
    "posts": _("Number of posts"),
    "business": _("Business account or category"),
    "recent_posts": _("Recent posts"),
    "frequency": _("Posting frequency"),
}

INELIGIBLE: Final[dict[str, Promise]] = {
    "blocked_handle": _("This handle is on your blocklist."),
    "blocked_word": _("The profile contains a word of your blocklist."),
    "private_profile": _("The profile is private, and your ICP skips private profiles."),
    "bio_required": _("The profile has no bio, and your ICP requires one."),
    "business_required": _(
        "The profile is neither a business account nor has a category, and your ICP requires one."
    ),
}

_EVIDENCE: Final[dict[str, Promise]] = {"yes": _("yes"), "no": _("no")}
_MISSING = _("unknown: could add up to {points}")
_NOTHING = _("nothing found")


def evidence_text(line: Line) -> str | Promise:
    """What was seen, for people: the word or number found, or what the missing data could add.

    >>> evidence_text(Line("bio", "decision_maker", 10, 10, "ceo", False))
    'ceo'
    """
    if line.missing:
        return format_lazy(_MISSING, points=line.maximum - line.points)
    return _EVIDENCE.get(line.evidence) or line.evidence or _NOTHING
