"""What goes into a score and what comes out: profiles, bands, criteria and their lines."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

# group -> (criterion, natural maximum). The order is the order of lines, for ever: stored
# breakdowns and the page follow it.
GROUPS: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "bio": (("title", 5), ("decision_maker", 10), ("business_word", 5), ("location", 5),
            ("interest", 5)),
    "engagement": (("follow_ratio", 10), ("followers", 10), ("engagement_rate", 10)),
    "profile": (("public", 10), ("bio_length", 5), ("posts", 5), ("business", 5)),
    "recency": (("recent_posts", 10), ("frequency", 5)),
}  # fmt: skip
CRITERIA: Final = tuple(
    (group, criterion, maximum) for group, rows in GROUPS.items() for criterion, maximum in rows
)


class Band(StrEnum):
    """How warm a lead is. NURTURING is never messaged."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    NURTURING = "nurturing"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a person's profile; None is unknown, which is not the same as 0 or ''.

    Counts are whole numbers; `engagement` is in percent (3.81 = 3.81 %); `frequency` is the
    posting frequency as text ("ativo", "very active"). `recent_posts` counts the last 30 days or
    what the scraper calls recent. `city` and `website` earn nothing; blocked words look there too.
    """

    handle: str = ""
    name: str | None = None
    bio: str | None = None
    followers: int | None = None
    following: int | None = None
    posts: int | None = None
    recent_posts: int | None = None
    engagement: float | Decimal | None = None
    is_private: bool | None = None
    is_business: bool | None = None
    is_verified: bool | None = None
    category: str | None = None
    frequency: str | None = None
    city: str | None = None
    website: str | None = None


class Line(NamedTuple):
    """One criterion of a breakdown: `points` of `maximum`, and the word or number that earned it.

    `evidence` is the keyword or number found, "yes"/"no" for flags, '' for nothing found.
    `missing` says that the data was unknown: `maximum` is what it could still add.
    """

    group: str
    criterion: str
    points: int
    maximum: int
    evidence: str
    missing: bool
