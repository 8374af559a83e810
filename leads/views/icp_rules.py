"""The criteria as the editor shows them: grouped, each rule in words, with its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.forms import BoundField
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from leads.icp_forms import IcpForm
from leads.scoring import GROUP_LABELS, GROUPS

RULES: Final[dict[str, Promise]] = {
    "title": _("The name has a title such as Dr., Dra. or Prof."),
    "decision_maker": _("The bio or the name has one of these words."),
    "business_word": _("The bio has one of these words."),
    "location": _("The bio names one of these places."),
    "interest": _("The bio has one of these words."),
    "follow_ratio": _(
        "0.5 to 3 followers per account followed earn all points, 0.3 to 5 half of them."
    ),
    "followers": _("Ideal numbers earn all points, accepted ones half of them."),
    "engagement_rate": _(
        "2.5 times the ideal rate earns all points, the ideal 7 of 10, the least 3 of 10."
    ),
    "public": _("The profile is known to be public."),
    "bio_length": _("The bio is longer than 10 characters."),
    "posts": _("50 posts earn all points, 20 earn 3 of 5."),
    "business": _("A business account earns all points, a category alone 3 of 5."),
    "recent_posts": _("3 recent posts earn all points, 1 earns half of them."),
    "frequency": _("The profile posts “active” or “very active”."),
}
FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "decision_maker": ("decision_maker_keywords",),
    "business_word": ("business_words",),
    "location": ("locations",),
    "interest": ("interests",),
    "followers": (
        "followers_min", "followers_ideal_min", "followers_ideal_max", "followers_max"
    ),
    "engagement_rate": ("engagement_min", "engagement_ideal"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A criterion: its switch, its rule in words, what can be set."""

    name: str
    points: int
    switch: BoundField
    words: str
    fields: list[BoundField]

    @property
    def is_open(self) -> bool:
        """Whether its settings are shown at once: when one of them is wrong."""
        return any(field.errors for field in self.fields)


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """A group of criteria with its weight; `points` are the natural ones of all its criteria."""

    name: str
    label: str
    weight: BoundField
    points: int
    rules: list[Rule]


def rule_groups(form: IcpForm) -> list[RuleGroup]:
    """The groups and criteria in the order of the engine."""
    return [
        RuleGroup(
            group,
            str(GROUP_LABELS[group]),
            form[f"weight_{group}"],
            sum(points for _criterion, points in rows),
            [
                Rule(
                    criterion,
                    points,
                    form[f"on_{criterion}"],
                    str(RULES[criterion]),
                    [form[name] for name in FIELDS.get(criterion, ())],
                )
                for criterion, points in rows
            ],
        )
        for group, rows in GROUPS.items()
    ]
