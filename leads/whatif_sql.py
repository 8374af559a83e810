"""The SQL of a what-if: every lead's points under another configuration.

A score keeps the natural points it was made of (`LeadScore.packed`). Under another configuration
most of them hold; the few criteria whose rule differs are worked out anew from `LeadFacts`: ranges
by comparing, keywords by looking only for those that were added or taken away. Where those are
many, each text is taken apart into its words once (`Words`), however many words are looked for.
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
# From so many words of one list on, taking texts apart is quicker than a search for each word.
MANY: Final = 12
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
    words = Words()
    code = _code(old, new, words)
    why = _why(old, new, words)
    found = words.join("s.lead_id")
    facts = ""
    if "f." in code.text or "f." in why.text:
        facts = "JOIN leads_leadfacts f ON f.tenant_id = s.tenant_id AND f.lead_id = s.lead_id "
    return Sql(
        f"SELECT s.lead_id, s.total, s.band, s.eligible, {code.text} AS code, {why.text} AS why "
        f"FROM leads_leadscore s {facts}{found.text}"
        "WHERE s.tenant_id = %s AND s.version_id = %s AND s.packed IS NOT NULL",
        (*code.params, *why.params, *found.params, scope.tenant_id(), version_id),
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


class Words:
    """Whole words that many patterns look for, found in one pass over the words of the texts.

    `has_any` gives conditions on `h`, which the FROM has by `join`. PostgreSQL alone; elsewhere,
    and for few patterns, each is looked for in the text.
    """

    def __init__(self) -> None:
        self._bits: dict[tuple[tuple[str, ...], frozenset[str]], int] = {}

    def has_any(self, columns: Sequence[str], patterns: Collection[str]) -> Sql:
        """Whether one of the patterns stands in one of the columns, as `has_any` has it."""
        whole = frozenset(filter(_is_word, patterns))
        if connection.vendor != "postgresql" or len(whole) < MANY:
            return has_any(columns, patterns)
        bit = 1 << self._bits.setdefault((tuple(columns), whole), len(self._bits))
        rest = has_any(columns, [pattern for pattern in patterns if pattern not in whole])
        return Sql(f"(coalesce(h.bits, 0) & {bit} > 0 OR {rest.text})", rest.params)

    def join(self, key: str) -> Sql:
        """The JOIN that finds all words at once, for the leads of the tenant in scope."""
        found: dict[str, dict[str, int]] = {}
        for (columns, whole), place in self._bits.items():
            for column in columns:
                bits = found.setdefault(column, {})
                for pattern in whole:
                    bits[pattern.strip()] = bits.get(pattern.strip(), 0) | 1 << place
        if not found:
            return Sql("")
        # A pattern stands between spaces and so do the words of a text: they are equal.
        parts = " UNION ALL ".join(
            "SELECT t.lead_id, w.bits FROM (SELECT f.lead_id,"
            f" unnest(string_to_array({column}, ' ')) AS word"
            " FROM leads_leadfacts f WHERE f.tenant_id = %s) AS t"
            " JOIN unnest(%s::text[], %s::int[]) AS w(word, bits) ON w.word = t.word"
            for column in found
        )
        tenant = scope.tenant_id()
        params = [
            value for bits in found.values() for value in (tenant, list(bits), list(bits.values()))
        ]
        return Sql(
            f"LEFT JOIN (SELECT lead_id, bit_or(bits) AS bits FROM ({parts}) AS hits"
            f" GROUP BY lead_id) AS h ON h.lead_id = {key} ",
            tuple(params),
        )


def _is_word(pattern: str) -> bool:
    """Whether a pattern is one whole word, and neither a phrase nor the beginning of a word."""
    return pattern.endswith(" ") and len(pattern.split()) == 1 and " " not in pattern[1:-1]


# --- Points -------------------------------------------------------------------------------------


def _code(old: IcpConfig, new: IcpConfig, words: Words) -> Sql:
    """The points as kept, with those of every rule that differs put in their place."""
    anew = {name: points for name, rule in _RULES.items() if (points := rule(old, new, words))}
    mask = POINTS_MASK
    for name in anew:
        mask &= ~(NIBBLE << BITS * PLACES[name])
    text = f"(s.packed & {mask})"
    params: list[Any] = []
    for name, points in anew.items():
        text += f" + (CAST({points.text} AS bigint) << {BITS * PLACES[name]})"
        params += points.params
    return Sql(f"({text})", tuple(params))


def _keywords(name: str, points: int, old: IcpConfig, new: IcpConfig, words: Words) -> Sql | None:
    of, columns = KEYWORDS[name]
    was = f"s.packed >> {BITS * PLACES[name]} & {NIBBLE} > 0"
    found = _found_anew(was, _patterns(of(old)), _patterns(of(new)), columns, words)
    return found and Sql(f"CASE WHEN {found.text} THEN {points} ELSE 0 END", found.params)


def _found_anew(
    was: str, old: frozenset[str], new: frozenset[str], columns: Sequence[str], words: Words
) -> Sql | None:
    """Whether one of `new` is found, given that `was` says it of `old`; None if they are equal."""
    added, gone = new - old, old - new
    if not (added or gone):
        return None
    lost, any_new, any_added = (words.has_any(columns, some) for some in (gone, new, added))
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


def _followers(old: IcpConfig, new: IcpConfig, _words: Words) -> Sql | None:
    if old.followers == new.followers:
        return None
    limits = new.followers
    return Sql(
        "CASE WHEN f.followers BETWEEN %s AND %s THEN 10"
        " WHEN f.followers BETWEEN %s AND %s THEN 5 ELSE 0 END",
        (limits.ideal_min, limits.ideal_max, limits.min, limits.max),
    )


def _engagement(old: IcpConfig, new: IcpConfig, _words: Words) -> Sql | None:
    if old.engagement == new.engagement:
        return None
    return Sql(
        "CASE WHEN f.rate >= %s THEN 10 WHEN f.rate >= %s THEN 7 WHEN f.rate >= %s THEN 3"
        " ELSE 0 END",
        tuple(map(rate_at_least, engagement_steps(new.engagement))),
    )


_RULES: Final[dict[str, Callable[[IcpConfig, IcpConfig, Words], Sql | None]]] = {
    "decision_maker": partial(_keywords, "decision_maker", 10),
    "business_word": partial(_keywords, "business_word", 5),
    "location": partial(_keywords, "location", 5),
    "interest": partial(_keywords, "interest", 5),
    "followers": _followers,
    "engagement_rate": _engagement,
}


# --- Eligibility --------------------------------------------------------------------------------


def _why(old: IcpConfig, new: IcpConfig, looked_for: Words) -> Sql:
    if (old.gates, old.blocklist) == (new.gates, new.blocklist):
        return Sql("s.reason")
    cases: list[Sql] = []
    if new.blocklist.handles:
        ids = Lead.objects.filter(handle__in=new.blocklist.handles).values_list("id", flat=True)
        cases.append(Sql(f"{_among('s.lead_id')} THEN 'blocked_handle'", (_list(ids),)))
    was = f"s.packed >> {BLOCKED_AT} = 1"
    words, columns = KEYWORDS["blocked"]
    if words(new):
        before, after = _patterns(words(old)), _patterns(words(new))
        found = _found_anew(was, before, after, columns, looked_for) or Sql(was)
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
