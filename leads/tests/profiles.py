"""People whom the scoring's tests know, and what they ask of a score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from leads.scoring import (
    DEFAULT,
    IcpConfig,
    Profile,
    score,
)

# The public examples of first-system.md 3.2. Its words give counts, rates and flags; free are the
# exact bios (a neutral one, say) and the privacy, public wherever the table gives the profile
# block its ten points.

ANA = Profile(
    name="Dra. Ana",
    bio="Clínica de estética em São Paulo",
    followers=5_000,
    following=2_500,
    posts=120,
    recent_posts=3,
    engagement=5.0,
    is_private=False,
    is_business=True,
    category="Saúde/beleza",
    frequency="muito ativo",
)
SCRAPED_ANA = replace(ANA, engagement=None, recent_posts=None, is_business=None)
CEO = Profile(
    name="Bruno Lima",
    bio="CEO · empresa de software",
    followers=5_000,
    following=2_500,
    posts=60,
    is_private=False,
    is_business=True,
    frequency="ativo",
)
NEUTRAL = replace(CEO, bio="Apaixonado por esportes e viagens")
PLAIN = replace(NEUTRAL, is_business=False, category="", posts=10)
CELEBRITY = Profile(
    name="Famosa",
    bio="official page",
    followers=2_000_000,
    following=50,
    posts=900,
    recent_posts=1,
    engagement=1.0,
    is_private=False,
    is_business=True,
    frequency="muito ativo",
)
EMPTY = Profile(
    bio="", followers=50, following=900, posts=3, is_private=False, frequency="pouco ativo"
)


def points(profile: Profile, config: IcpConfig = DEFAULT) -> dict[str, int]:
    return {line.criterion: line.points for line in score(profile, config).lines}


def line_of(profile: Profile, criterion: str, config: IcpConfig = DEFAULT) -> Any:
    return next(line for line in score(profile, config).lines if line.criterion == criterion)


def config(**data: Any) -> IcpConfig:
    return IcpConfig.from_json(data)
