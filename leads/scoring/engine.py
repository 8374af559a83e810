"""The engine: a configuration compiled once, and the factors of one profile after the other."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from itertools import compress
from typing import Final

from leads.identities import fold
from leads.scoring.breakdown import Score
from leads.scoring.config import DEFAULT, Engagement, IcpConfig
from leads.scoring.facts import pack
from leads.scoring.matching import BLOCKED, BUSINESS, DECISION, Finder
from leads.scoring.rounding import Scale
from leads.scoring.values import CRITERIA, Band, Profile
from leads.scoring.words import words_of

_NAMES: Final = tuple(criterion for _group, criterion, _maximum in CRITERIA)
# Tokens of a folded name that make a professional title; "drª" and "dra." fold to "dra".
TITLES: Final = frozenset(
    {"dr", "dra", "prof", "profa", "doutor", "doutora", "professor", "professora"}
)
# The only posting frequencies that count as active: "pouco ativo" holds the word and does not.
ACTIVE: Final = frozenset({"ativo", "muito ativo", "active", "very active"})


def score(profile: Profile, config: IcpConfig | None = None) -> Score:
    """Score how well a profile fits: 0 (not at all) to 100, with the reasons.

    For many profiles take `scorer_for(config)` once and call its `score`.

    >>> result = score(Profile(bio="CEO · empresa de software", followers=5_000, following=2_500))
    >>> result.total, str(result.band), result.coverage
    (45, 'cold', 50)
    >>> [(line.criterion, line.points, line.evidence) for line in result.lines if line.points][:2]
    [('decision_maker', 10, 'ceo'), ('business_word', 5, 'ceo')]
    """
    return scorer_for(config or DEFAULT).score(profile)


@lru_cache(maxsize=64)
def scorer_for(config: IcpConfig) -> Scorer:
    """The compiled scorer of a configuration, kept for the next caller."""
    return Scorer(config)


class Scorer:
    """A configuration compiled for speed; safe to share between threads."""

    def __init__(self, config: IcpConfig) -> None:
        self.config = config
        self._find = Finder(config).find
        self._blocked_handles = frozenset(config.blocklist.handles)
        self._blocks_words = bool(config.blocklist.words)
        self._steps = engagement_steps(config.engagement)
        self._float_steps = tuple(float(step) for step in self._steps)
        self.scale = Scale(config)

    def score(self, profile: Profile) -> Score:
        """Score one profile; see `score`."""
        earned, evidence, missing = self._natural_points(profile)
        total, points, maxima = self.scale.apply(earned)
        breakdown = [
            [criterion, got, most, None if unknown else seen]
            for criterion, got, most, seen, unknown in zip(
                _NAMES, points, maxima, evidence, missing, strict=True
            )
        ]
        coverage = 100 - sum(compress(maxima, missing))
        blocked = self._blocks_words and self._has_blocked_word(profile)
        reason = self._ineligible_reason(profile, blocked)
        packed = pack(earned, blocked=blocked)
        return Score(total, self.band(total), not reason, reason, breakdown, coverage, packed)

    def band(self, total: int) -> Band:
        """The band of a total under this configuration's thresholds."""
        limits = self.config.thresholds
        if total >= limits.hot:
            return Band.HOT
        if total >= limits.warm:
            return Band.WARM
        return Band.COLD if total >= limits.cold else Band.NURTURING

    def _ineligible_reason(self, profile: Profile, blocked: bool) -> str:
        """The first reason (a code of `INELIGIBLE`) not to write to the profile, or ''."""
        gates = self.config.gates
        if profile.handle in self._blocked_handles:
            return "blocked_handle"
        if blocked:
            return "blocked_word"
        if gates.skip_private and profile.is_private:
            return "private_profile"
        if gates.require_bio and not (profile.bio and profile.bio.strip()):
            return "bio_required"
        if gates.require_business and not (profile.is_business or _given(profile.category)):
            return "business_required"
        return ""

    def _has_blocked_word(self, profile: Profile) -> bool:
        return any(
            self._find(words_of(text))[BLOCKED]
            for text in (
                profile.name, profile.bio, profile.category, profile.city, profile.website
            )
            if text
        )  # fmt: skip

    def _natural_points(
        self, profile: Profile
    ) -> tuple[tuple[int, ...], tuple[str, ...], tuple[bool, ...]]:
        """Per criterion: points before weighting, evidence, whether the data was missing."""
        name, bio, category = profile.name, profile.bio, profile.category
        # Bio: one pass over the bio's words, one over the name's.
        bio_words = words_of(bio) if bio else ()
        name_words = words_of(name) if name else ()
        in_bio = self._find(bio_words)
        decision = in_bio[DECISION] or (self._find(name_words)[DECISION] if name_words else "")
        business_word, location, interest = in_bio[BUSINESS:BLOCKED]
        title = next((word for word in name_words if word in TITLES), "")
        no_name, no_bio = not name, bio is None

        # Engagement.
        followers, following, posts = profile.followers, profile.following, profile.posts
        no_ratio = followers is None or following is None
        ratio, ratio_points, ratio_seen = 0.0, 0, ""
        if followers is not None and following is not None:
            if following:
                ratio = followers / following
                # Whole numbers: 3/10 is exactly 0.3, which a float quotient may miss.
                if 2 * followers >= following and followers <= 3 * following:
                    ratio_points = 10
                elif 10 * followers >= 3 * following and followers <= 5 * following:
                    ratio_points = 5
            ratio_seen = f"{ratio:.2f}"
        limits = self.config.followers
        followers_points = 0
        if followers is not None:
            if limits.ideal_min <= followers <= limits.ideal_max:
                followers_points = 10
            elif limits.min <= followers <= limits.max:
                followers_points = 5
        rate, rate_points = profile.engagement, 0
        if rate is not None:
            # A stored rate is decimal: 2.2 reaches 2.2, which as a float is a little more.
            high, ideal, low = self._steps if isinstance(rate, Decimal) else self._float_steps
            rate_points = 10 if rate >= high else 7 if rate >= ideal else 3 if rate >= low else 0

        # Profile.
        private, business = profile.is_private, profile.is_business
        length = len(bio.strip()) if bio else 0
        posts_points = 0 if posts is None or posts < 20 else 5 if posts >= 50 else 3
        if business:
            business_points, business_seen = 5, "yes"
        elif category and (stripped := category.strip()):
            business_points, business_seen = 3, stripped
        else:
            business_points, business_seen = 0, "" if business is None else "no"

        # Recency.
        recent, frequency = profile.recent_posts, profile.frequency
        recent_points = 0 if not recent or recent < 1 else 10 if recent >= 3 else 5
        if frequency and (frequency := " ".join(fold(frequency).replace("_", " ").split())):
            frequency_points, no_frequency = 5 if frequency in ACTIVE else 0, False
        else:
            frequency_points, no_frequency = 0, True

        return (
            (
                5 if title else 0,
                10 if decision else 0,
                5 if business_word else 0,
                5 if location else 0,
                5 if interest else 0,
                ratio_points,
                followers_points,
                rate_points,
                10 if private is False else 0,
                5 if length > 10 else 0,
                posts_points,
                business_points,
                recent_points,
                frequency_points,
            ),
            (
                title,
                decision,
                business_word,
                location,
                interest,
                ratio_seen,
                "" if followers is None else str(followers),
                "" if rate is None else f"{rate:.2f}",
                "" if private is None else "no" if private else "yes",
                "" if no_bio else str(length),
                "" if posts is None else str(posts),
                business_seen,
                "" if recent is None else str(recent),
                frequency or "",
            ),
            (
                no_name,
                # Found in the name, an unknown bio could add nothing; found nowhere, it could.
                no_bio and not decision,
                no_bio,
                no_bio,
                no_bio,
                no_ratio,
                followers is None,
                rate is None,
                private is None,
                no_bio,
                posts is None,
                business is None and not business_points,
                recent is None,
                no_frequency,
            ),
        )


def engagement_steps(limits: Engagement) -> tuple[Decimal, Decimal, Decimal]:
    """The least rates in percent that earn 10, 7 and 3 points."""
    # In decimal, so that 2.5 x 2.2 is 5.5 and a rate of 5.5 reaches it.
    ideal = Decimal(str(limits.ideal))
    return ideal * Decimal("2.5"), ideal, Decimal(str(limits.min))


def _given(text: str | None) -> bool:
    return bool(text and text.strip())
