"""The SQL of a what-if: every lead's points under another configuration.

A score keeps the natural points it was made of (`LeadScore.packed`). Under another configuration
most of them hold; the few criteria whose rule differs are worked out anew from `LeadFacts`: ranges
by comparing, keywords by looking only for those that were added or taken away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import Any, Final, NamedTuple

from django.db import connection

from agenticos import scope
from leads.models import Lead
from leads.scoring import GROUPS, IcpConfig, Scorer
from leads.scoring.engine import engagement_steps
from leads.scoring.facts import (
    BITS,
    BLOCKED_AT,
    HAS_BIO,
    IS_BUSINESS,
    PLACES,
    PRIVATE,
    pattern_of,
    rate_at_least,
)

BIO, NAME, OTHER = "f.bio_words", "f.name_words", "f.other_words"
NIBBLE: Final = (1 << BITS) - 1
POINTS_MASK: Final = (1 << BLOCKED_AT) - 1
SUM_BITS: Final = 5  # a group's natural points are 0 to 30
# What each criterion can earn, by the engine.
LEVELS: Final[dict[str, tuple[int, ...]]] = {
    "follow_ratio": (0, 5, 10), "followers": (0, 5, 10), "engagement_rate": (0, 3, 7, 10),
    "posts": (0, 3, 5), "business": (0, 3, 5), "recent_posts": (0, 5, 10),
}  # fmt: skip


# Which keywords a configuration has, and where they are looked for.
KEYWORDS: Final[dict[str, tuple[Callable[[IcpConfig], Sequence[str]], tuple[str, ...]]]] = {
    "decision_maker": (lambda config: config.decision_maker_keywords, (BIO, NAME)),
    "business_word": (lambda config: config.business_words, (BIO,)),
    "location": (lambda config: [word for word, _shown in config.locations], (BIO,)),
    "interest": (lambda config: [one for _group, some in config.interests for one in some], (BIO,)),
    "blocked": (lambda config: config.blocklist.words, (BIO, NAME, OTHER)),
}


class Sql(NamedTuple):
    """A piece of SQL and its parameters, in order."""

    text: str
    params: tuple[Any, ...] = ()


def rows_under(old: IcpConfig, new: IcpConfig, version_id: int) -> Sql:
    """A SELECT of every lead that has points under the version in force (whose config is `old`).

    Columns: lead_id; total, band, eligible as stored; `code`, the packed points under `new`; and
    `why`, the reason not to be eligible under `new`, or ''.
    """
    code = _code(old, new)
    why = _why(old, new)
    facts = ""
    if "f." in code.text or "f." in why.text:
        facts = "JOIN leads_leadfacts f ON f.tenant_id = s.tenant_id AND f.lead_id = s.lead_id "
    return Sql(
        f"SELECT s.lead_id, s.total, s.band, s.eligible, {code.text} AS code, {why.text} AS why "
        f"FROM leads_leadscore s {facts}"
        "WHERE s.tenant_id = %s AND s.version_id = %s AND s.packed IS NOT NULL",
        (*code.params, *why.params, scope.tenant_id(), version_id),
    )


def key_of(config: IcpConfig, code: str = "code") -> str:
    """The natural points of each group in one number: what the total depends on."""
    sums = []
    for place, rows in enumerate(GROUPS.values()):
        points = [f"({code} >> {BITS * PLACES[one]} & {NIBBLE})" for one, _m in rows
                  if one not in config.off]  # fmt: skip
        if points:
            sums.append(f"(({' + '.join(points)}) << {SUM_BITS * place})")
    return " + ".join(sums)


@lru_cache(maxsize=16)
def totals_by_key(scorer: Scorer) -> dict[int, int]:
    """The total of every key there can be (some thousands)."""
    choices = []
    for place, rows in enumerate(GROUPS.values()):
        levels = [LEVELS.get(one, (0, most)) for one, most in rows if one not in scorer.config.off]
        choices.append(
            [(sum_ << SUM_BITS * place, sum_) for sum_ in set(map(sum, product(*levels)))]
        )
    found = {}
    for combination in product(*choices):
        sums = [sum_ for _part, sum_ in combination]
        found[sum(part for part, _sum in combination)] = scorer.scale.total(sums)
    return found


def table_of(totals: dict[int, int]) -> Sql:
    """A SELECT of `totals`, with the columns key and total."""
    if connection.vendor == "postgresql":
        return Sql(
            "SELECT * FROM unnest(%s::int[], %s::int[]) AS t(key, total)",
            (list(totals), list(totals.values())),
        )
    return Sql(
        "SELECT json_extract(value, '$[0]') AS key, json_extract(value, '$[1]') AS total"
        " FROM json_each(%s)",
        (json.dumps(list(totals.items())),),
    )


def band_of(config: IcpConfig, total: str) -> Sql:
    """The band of a total, as it is stored."""
    limits = config.thresholds
    return Sql(
        f"CASE WHEN {total} >= %s THEN 'HOT' WHEN {total} >= %s THEN 'WARM'"
        f" WHEN {total} >= %s THEN 'COLD' ELSE 'NURTURING' END",
        (limits.hot, limits.warm, limits.cold),
    )


def has_any(columns: Sequence[str], patterns: Collection[str]) -> Sql:
    """Whether one of the patterns (`facts.pattern_of`) stands in one of the columns."""
    # Several times quicker than a regular expression of them all.
    test = "strpos({}, %s) > 0" if connection.vendor == "postgresql" else "instr({}, %s) > 0"
    needles = sorted(patterns)
    parts = [test.format(column) for column in columns for _needle in needles]
    return Sql(f"({' OR '.join(parts)})" if parts else "(1 = 0)", (*needles,) * len(columns))


# --- Points -------------------------------------------------------------------------------------


def _code(old: IcpConfig, new: IcpConfig) -> Sql:
    """The points as kept, with those of every rule that differs put in their place."""
    anew = {name: points for name, rule in _RULES.items() if (points := rule(old, new))}
    mask = POINTS_MASK
    for name in anew:
        mask &= ~(NIBBLE << BITS * PLACES[name])
    text = f"(s.packed & {mask})"
    params: list[Any] = []
    for name, points in anew.items():
        text += f" + (CAST({points.text} AS bigint) << {BITS * PLACES[name]})"
        params += points.params
    return Sql(f"({text})", tuple(params))


def _keywords(name: str, points: int, old: IcpConfig, new: IcpConfig) -> Sql | None:
    words, columns = KEYWORDS[name]
    was = f"s.packed >> {BITS * PLACES[name]} & {NIBBLE} > 0"
    found = _found_anew(was, _patterns(words(old)), _patterns(words(new)), columns)
    return found and Sql(f"CASE WHEN {found.text} THEN {points} ELSE 0 END", found.params)


def _found_anew(
    was: str, old: frozenset[str], new: frozenset[str], columns: Sequence[str]
) -> Sql | None:
    """Whether one of `new` is found, given that `was` says it of `old`; None if they are equal."""
    added, gone = new - old, old - new
    if not (added or gone):
        return None
    lost, any_new, any_added = (has_any(columns, some) for some in (gone, new, added))
    if not gone:
        stays = Sql("(1 = 1)")
    elif len(gone) < len(new):
        # Who has none of those that are gone was found by one that stays.
        stays = Sql(f"(NOT {lost.text} OR {any_new.text})", (*lost.params, *any_new.params))
    else:
        stays = any_new
    return Sql(
        f"CASE WHEN {was} THEN {stays.text} ELSE {any_added.text} END",
        (*stays.params, *any_added.params),
    )


def _patterns(words: Iterable[str]) -> frozenset[str]:
    return frozenset(map(pattern_of, words))


def _followers(old: IcpConfig, new: IcpConfig) -> Sql | None:
    if old.followers == new.followers:
        return None
    limits = new.followers
    return Sql(
        "CASE WHEN f.followers BETWEEN %s AND %s THEN 10"
        " WHEN f.followers BETWEEN %s AND %s THEN 5 ELSE 0 END",
        (limits.ideal_min, limits.ideal_max, limits.min, limits.max),
    )


def _engagement(old: IcpConfig, new: IcpConfig) -> Sql | None:
    if old.engagement == new.engagement:
        return None
    return Sql(
        "CASE WHEN f.rate >= %s THEN 10 WHEN f.rate >= %s THEN 7 WHEN f.rate >= %s THEN 3"
        " ELSE 0 END",
        tuple(map(rate_at_least, engagement_steps(new.engagement))),
    )


_RULES: Final[dict[str, Callable[[IcpConfig, IcpConfig], Sql | None]]] = {
    "decision_maker": partial(_keywords, "decision_maker", 10),
    "business_word": partial(_keywords, "business_word", 5),
    "location": partial(_keywords, "location", 5),
    "interest": partial(_keywords, "interest", 5),
    "followers": _followers,
    "engagement_rate": _engagement,
}


# --- Eligibility --------------------------------------------------------------------------------


def _why(old: IcpConfig, new: IcpConfig) -> Sql:
    if (old.gates, old.blocklist) == (new.gates, new.blocklist):
        return Sql("s.reason")
    cases: list[Sql] = []
    if new.blocklist.handles:
        ids = Lead.objects.filter(handle__in=new.blocklist.handles).values_list("id", flat=True)
        cases.append(Sql(f"{_among('s.lead_id')} THEN 'blocked_handle'", (_list(ids),)))
    was = f"s.packed >> {BLOCKED_AT} = 1"
    words, columns = KEYWORDS["blocked"]
    if words(new):
        found = _found_anew(was, _patterns(words(old)), _patterns(words(new)), columns) or Sql(was)
        cases.append(Sql(f"{found.text} THEN 'blocked_word'", found.params))
    gates = new.gates
    if gates.skip_private:
        cases.append(Sql(f"f.gates & {PRIVATE} > 0 THEN 'private_profile'"))
    if gates.require_bio:
        cases.append(Sql(f"f.gates & {HAS_BIO} = 0 THEN 'bio_required'"))
    if gates.require_business:
        cases.append(Sql(f"f.gates & {IS_BUSINESS} = 0 THEN 'business_required'"))
    if not cases:
        return Sql("''")
    text = " ".join(f"WHEN {case.text}" for case in cases)
    return Sql(f"CASE {text} ELSE '' END", tuple(param for case in cases for param in case.params))


def _among(column: str) -> str:
    if connection.vendor == "postgresql":
        return f"{column} = ANY(%s::bigint[])"
    return f"{column} IN (SELECT value FROM json_each(%s))"


def _list(ids: Iterable[int]) -> Any:
    return list(ids) if connection.vendor == "postgresql" else json.dumps(list(ids))
