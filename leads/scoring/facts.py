"""What a what-if needs of a profile without reading it again: folded words, numbers, known data.

These facts hold under any configuration, so they are kept beside the lead. `pack` keeps the
natural points that a profile earned under one configuration. From the two a database works out
the points under another configuration, exactly as the engine would (`leads.whatif`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final, NamedTuple

from leads.identities import fold
from leads.scoring.values import CRITERIA, Profile
from leads.scoring.words import words_of

# The place of each criterion in packed points and in `Facts.known`.
PLACES: Final = {criterion: at for at, (_group, criterion, _maximum) in enumerate(CRITERIA)}
BITS: Final = 4  # a criterion's natural points are 0 to 10
BLOCKED_AT: Final = BITS * len(CRITERIA)
RATE_UNIT: Final = 10_000  # engagement is kept to four places

# What the gates look at.
PRIVATE, HAS_BIO, IS_BUSINESS = 1, 2, 4

# Between two texts: no keyword holds it, so none is found across them.
_APART: Final = " \n "


class Facts(NamedTuple):
    """Words stand between single spaces, with one at either end: a keyword is found as ' ceo '.

    `rate` is the engagement in ten-thousandths of a percent. `known` has the bit of each criterion
    whose data is known, `gates` the bits PRIVATE, HAS_BIO and IS_BUSINESS.
    """

    bio_words: str
    name_words: str
    other_words: str
    followers: int | None
    rate: int | None
    known: int
    gates: int


def facts_of(profile: Profile) -> Facts:
    """The facts of a profile.

    >>> facts_of(Profile(name="Dra. Ana", bio="CEO"))[:3]
    (' ceo ', ' dra ana ', '')
    """
    bio, category, rate = profile.bio, profile.category, profile.engagement
    has_category = bool(category and category.strip())
    others = [_spaced(text) for text in (category, profile.city, profile.website) if text]
    known = {
        "title": bool(profile.name),
        "decision_maker": bio is not None,
        "business_word": bio is not None,
        "location": bio is not None,
        "interest": bio is not None,
        "follow_ratio": profile.followers is not None and profile.following is not None,
        "followers": profile.followers is not None,
        "engagement_rate": rate is not None,
        "public": profile.is_private is not None,
        "bio_length": bio is not None,
        "posts": profile.posts is not None,
        "business": profile.is_business is not None or has_category,
        "recent_posts": profile.recent_posts is not None,
        "frequency": bool(profile.frequency and fold(profile.frequency).replace("_", " ").split()),
    }
    return Facts(
        _spaced(bio) if bio else "",
        _spaced(profile.name) if profile.name else "",
        _APART.join(filter(None, others)),
        profile.followers,
        None if rate is None else int(Decimal(str(rate)) * RATE_UNIT),
        sum(1 << PLACES[criterion] for criterion, there in known.items() if there),
        (PRIVATE if profile.is_private else 0)
        | (HAS_BIO if bio and bio.strip() else 0)
        | (IS_BUSINESS if profile.is_business or has_category else 0),
    )


def rate_at_least(limit: Decimal) -> int:
    """The least `Facts.rate` that reaches a rate in percent.

    >>> rate_at_least(Decimal("2.00001"))
    20001
    """
    return int((limit * RATE_UNIT).to_integral_value(ROUND_CEILING))


def pattern_of(keyword: str) -> str:
    """What stands in `Facts` words exactly where the keyword is found.

    >>> pattern_of("Médico"), pattern_of("empreend*"), pattern_of("São Paulo")
    (' medico ', ' empreend', ' sao paulo ')
    """
    end = "" if keyword.rstrip().endswith("*") else " "
    return f" {' '.join(words_of(keyword))}{end}"


def pack(earned: Sequence[int], *, blocked: bool) -> int:
    """Natural points per criterion, and whether a blocked word was found, in one number.

    >>> unpack(pack([5, 10, *[0] * 12], blocked=True))[:3]
    (5, 10, 0)
    """
    packed = int(blocked) << BLOCKED_AT
    for at, points in enumerate(earned):
        packed |= points << (BITS * at)
    return packed


def unpack(packed: int) -> tuple[int, ...]:
    """The natural points per criterion."""
    mask = (1 << BITS) - 1
    return tuple(packed >> (BITS * at) & mask for at in range(len(CRITERIA)))


def _spaced(text: str) -> str:
    words = words_of(text)
    return f" {' '.join(words)} " if words else ""
