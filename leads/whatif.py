"""What another ICP would do to the scores, before anything is stored.

Exact for every lead, not an estimate: `whatif_sql` has the database work out the points, and this
module the totals and bands, by the arithmetic of the engine itself. Leads without kept points
(scored by an earlier release, or not yet) are scored one by one. Runs in its tenant's scope.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from django.db import connection, models, transaction
from django.db.models import Count, Exists, OuterRef
from django.utils.translation import gettext as _

from agenticos import paging, scope, sql
from agenticos.errors import Refused
from leads import drafts, scoring, whatif_sql
from leads.models import Band, Icp, IcpVersion, Lead, LeadFacts, LeadScore
from leads.scoring.facts import BITS, PLACES, facts_of, pattern_of, unpack

# So many leads without kept points are scored one by one, about two seconds; more are refused.
ONE_BY_ONE: Final = 20_000
KEYWORDS_LOOKED_FOR: Final = 5
ROWS: Final = 50
NO_BAND: Final = ""  # of a lead that has no score yet
UNSCORED: Final = "none"  # how an address says so


class Move(NamedTuple):
    """A lead before and after; without a score before, `total` is 0 and `band` NO_BAND."""

    lead_id: int
    total: int
    band: str
    eligible: bool
    new_total: int
    new_band: str
    why: str  # code of scoring.INELIGIBLE under the new ICP, '' when eligible

    @property
    def by(self) -> int:
        """Points gained, or lost when below 0."""
        return self.new_total - self.total


class Fall(NamedTuple):
    """Of a group of leads that wait for a message: who no longer, and who newly would get it."""

    waiting: int = 0
    lost: int = 0
    won: int = 0

    def plus(self, other: Fall) -> Fall:
        """The sums of both."""
        return Fall(*map(sum, zip(self, other, strict=True)))


@dataclass(slots=True)
class Effect:
    """Counts over all leads. Bands are `Band` values; `before` leaves out who has no score yet."""

    leads: int = 0
    before: Counter[int] = field(default_factory=Counter)  # total -> leads
    after: Counter[int] = field(default_factory=Counter)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)  # (old band, new band)
    reasons: Counter[str] = field(default_factory=Counter)  # why not eligible, after
    changed: int = 0  # leads whose total differs
    eligible_before: int = 0
    eligible_after: int = 0
    earning: Counter[str] = field(default_factory=Counter)  # criterion -> leads with points
    known: Counter[str] = field(default_factory=Counter)  # criterion -> leads with data
    unused: list[str] = field(default_factory=list)  # added keywords that no lead has

    @property
    def moved(self) -> int:
        """Leads that change their band."""
        return sum(count for (old, new), count in self.moves.items() if old != new)

    def add(self, move: Move, count: int) -> None:
        """Count `count` leads that fare alike."""
        self.leads += count
        if move.band:
            self.before[move.total] += count
            self.eligible_before += count if move.eligible else 0
        self.after[move.new_total] += count
        self.moves[move.band, move.new_band] += count
        self.reasons[move.why] += count
        self.eligible_after += 0 if move.why else count
        self.changed += count if not move.band or move.by else 0


@transaction.atomic
def effect(config: scoring.IcpConfig) -> Effect:
    """What `config` would do to every lead. Raises Refused when too many have no kept points."""
    live = _live()
    scorer = scoring.scorer_for(config)
    found = Effect()
    if live is not None:
        _count_kept(found, live, scorer)
    singles = _one_by_one(live, scorer)
    for move, score, known in singles:
        found.add(move, 1)
        for (criterion, place), points in zip(PLACES.items(), unpack(score.packed), strict=True):
            found.earning[criterion] += points > 0
            found.known[criterion] += known >> place & 1
    for criterion in config.off:
        found.earning[criterion] = 0
    if not singles:
        found.unused = _unused(live, config)
    return found


@transaction.atomic
def movers(
    config: scoring.IcpConfig, *, old: str = "", new: str = "", after: str = "", size: int = ROWS
) -> tuple[list[Move], str]:
    """Leads that fare differently, the largest change first, and the cursor of the next page.

    With `old` and `new` (bands) exactly the leads of that cell of the matrix, also those that stay;
    `old` may be UNSCORED.
    """
    live = _live()
    scorer = scoring.scorer_for(config)
    key = paging.decode(after, 2)
    rows = [move for move, _score, _known in _one_by_one(live, scorer) if _wanted(move, old, new)]
    if live is not None:
        rows += _moved_kept(live, scorer, old, new, key, size)
    if key is not None:
        rows = [move for move in rows if (-abs(move.by), move.lead_id) > (-key[0], key[1])]
    rows.sort(key=lambda move: (-abs(move.by), move.lead_id))
    last = rows[size - 1] if len(rows) > size else None
    return rows[:size], paging.encode([abs(last.by), last.lead_id]) if last else ""


@transaction.atomic
def falls(config: scoring.IcpConfig, waiting: models.QuerySet[Any]) -> dict[int, Fall]:
    """What `config` means for those who wait for a message, by the group that they wait in.

    `waiting` yields lead_id, group and floor, the group's own minimum score. A lead is written to
    while it is eligible and neither below that nor below COLD.
    """
    live = _live()
    scorer = scoring.scorer_for(config)
    found: dict[int, Fall] = {}
    singles = {move.lead_id: move for move, _score, _known in _one_by_one(live, scorer)}
    was = _config_of(live).thresholds.cold if live else 0
    cold = config.thresholds.cold
    rows = waiting.filter(lead_id__in=singles).values_list("lead_id", "group", "floor")
    for lead_id, group, floor in rows if singles else ():
        move = singles[lead_id]
        before = bool(move.band) and move.eligible and move.total >= max(floor, was)
        after = not move.why and move.new_total >= max(floor, cold)
        found[group] = found.get(group, Fall()).plus(
            Fall(1, int(before and not after), int(after and not before))
        )
    if live is None:
        return found
    moved = _moved(live, scorer)
    wait_sql, wait_params = waiting.values("lead_id", "group", "floor").query.sql_with_params()
    largest = "greatest" if connection.vendor == "postgresql" else "max"
    answer = sql.fetch(
        f"SELECT grp, count(*), sum(CASE WHEN was AND NOT is_now THEN 1 ELSE 0 END),"
        f" sum(CASE WHEN is_now AND NOT was THEN 1 ELSE 0 END) FROM ("
        f'SELECT w."group" AS grp, m.eligible AND m.total >= {largest}(w.floor, %s) AS was,'
        f" m.why = '' AND m.new_total >= {largest}(w.floor, %s) AS is_now"
        f" FROM ({wait_sql}) AS w JOIN ({moved.text}) AS m ON m.lead_id = w.lead_id) AS fates"
        f" GROUP BY grp",
        (was, cold, *wait_params, *moved.params),
    )
    for group, number, lost, won in answer:
        found[group] = found.get(group, Fall()).plus(Fall(int(number), int(lost), int(won)))
    return found


def cause(before: Any, after: tuple[scoring.Line, ...]) -> tuple[str, int]:
    """The criterion that moved most in the direction of the total, and by how many points.

    `before` is a stored breakdown. ('', 0) when no points moved: then the thresholds did.
    """
    old = {line.criterion: line.points for line in scoring.from_compact(before or ())}
    by = {line.criterion: line.points - old.get(line.criterion, 0) for line in after}
    way = 1 if sum(by.values()) >= 0 else -1
    name, points = max(by.items(), key=lambda item: item[1] * way)
    return (name, points) if points else ("", 0)


# --- In the database ----------------------------------------------------------------------------


def _live() -> IcpVersion | None:
    """The version in force; readies the transaction for the long expressions that follow."""
    if connection.vendor == "postgresql":
        # Compiling them takes longer than it saves: twice the time over 100 000 leads.
        # And the groups of 100 000 leads fit into memory: else they are sorted by text, on disk.
        # A statement that came often gets one plan for whatever is bound to it: a loop over all
        # leads for each of 7 000 totals, as if there were ten of these.
        sql.fetch(
            "SELECT set_config('jit', 'off', true), set_config('work_mem', '64MB', true),"
            " set_config('plan_cache_mode', 'force_custom_plan', true)",
            [],
        )
    icp = Icp.objects.select_related("live").first()
    return icp.live if icp else None


def _config_of(version: IcpVersion) -> scoring.IcpConfig:
    return scoring.IcpConfig.from_json(version.config)


def _count_kept(found: Effect, live: IcpVersion, scorer: scoring.Scorer) -> None:
    """Count the leads with kept points: grouped by their points first, then by what they sum to."""
    config = scorer.config
    rows = whatif_sql.rows_under(_config_of(live), config, live.pk)
    earning = " || ',' || ".join(
        f"coalesce(sum(CASE WHEN code >> {BITS * place} & {whatif_sql.NIBBLE} > 0"
        " THEN n ELSE 0 END), 0)"
        for place in PLACES.values()
    )
    key = whatif_sql.key_of(config)
    # `earning` is one text of sums over all leads, the same in every row.
    answer = sql.fetch(
        f"WITH g AS MATERIALIZED (SELECT total, band, eligible, code, why, count(*) AS n"
        f" FROM ({rows.text}) AS r GROUP BY total, band, eligible, code, why),"
        f" e AS MATERIALIZED (SELECT {earning} AS earning FROM g) "
        f"SELECT total, band, eligible, key, why, n, (SELECT earning FROM e) FROM ("
        f"SELECT total, band, eligible, {key} AS key, why, sum(n) AS n"
        f" FROM g GROUP BY 1, 2, 3, 4, 5) AS sums",
        rows.params,
    )
    totals = whatif_sql.totals_by_key(scorer)
    bands = [_band(scorer, total) for total in range(101)]
    for total, band, eligible, key, why, count, _earning in answer:
        new = totals[key]
        found.add(Move(0, total, band, bool(eligible), new, bands[new], why), int(count))
    if answer:
        for criterion, hit in zip(PLACES, answer[0][-1].split(","), strict=True):
            found.earning[criterion] += int(hit)
    for known, count in LeadFacts.objects.values_list("known").annotate(Count("pk")):
        for criterion, place in PLACES.items():
            found.known[criterion] += count * (known >> place & 1)


def _moved(live: IcpVersion, scorer: scoring.Scorer) -> whatif_sql.Sql:
    """A SELECT of every lead with kept points, before and after."""
    config = scorer.config
    rows = whatif_sql.rows_under(_config_of(live), config, live.pk)
    table = whatif_sql.table_of(whatif_sql.totals_by_key(scorer))
    band = whatif_sql.band_of(config, "m.total")
    return whatif_sql.Sql(
        f"WITH u AS MATERIALIZED ({rows.text}),"
        f" r AS MATERIALIZED (SELECT u.*, {whatif_sql.key_of(config)} AS key FROM u),"
        f" m AS MATERIALIZED ({table.text}) "
        f"SELECT r.lead_id, r.total, r.band, r.eligible, m.total AS new_total,"
        f" {band.text} AS new_band, r.why, abs(m.total - r.total) AS moved"
        f" FROM r JOIN m ON m.key = r.key",
        (*rows.params, *table.params, *band.params),
    )


def _moved_kept(
    live: IcpVersion,
    scorer: scoring.Scorer,
    old: str,
    new: str,
    key: list[int] | None,
    size: int,
) -> list[Move]:
    moved = _moved(live, scorer)
    conditions: list[str] = []
    params: list[str | int] = []
    if old:
        conditions.append("band = %s")
        params.append(old)
    if new:
        conditions.append("new_band = %s")
        params.append(new)
    if not conditions:
        conditions.append("(moved > 0 OR band <> new_band)")
    if key is not None:
        conditions.append("(moved < %s OR (moved = %s AND lead_id > %s))")
        params += [key[0], *key]
    answer = sql.fetch(
        f"SELECT lead_id, total, band, eligible, new_total, new_band, why"
        f" FROM ({moved.text}) AS moves WHERE {' AND '.join(conditions)}"
        f" ORDER BY moved DESC, lead_id LIMIT %s",
        (*moved.params, *params, size + 1),
    )
    return [
        Move(lead_id, total, band, bool(eligible), new_total, new_band, why)
        for lead_id, total, band, eligible, new_total, new_band, why in answer
    ]


def _unused(live: IcpVersion | None, config: scoring.IcpConfig) -> list[str]:
    """Keywords that are new in `config` and that no lead has."""
    before = _config_of(live) if live else scoring.DEFAULT
    wanted: dict[str, whatif_sql.Sql] = {}
    for words, columns in whatif_sql.KEYWORDS.values():
        known = {pattern_of(word) for word in words(before)}
        for word in words(config):
            if pattern_of(word) not in known and len(wanted) < KEYWORDS_LOOKED_FOR:
                wanted[word] = whatif_sql.has_any(columns, [pattern_of(word)])
    if not wanted:
        return []
    asked = ", ".join(
        f"EXISTS (SELECT 1 FROM leads_leadfacts f WHERE f.tenant_id = %s AND {one.text})"
        for one in wanted.values()
    )
    params = [value for one in wanted.values() for value in (scope.tenant_id(), *one.params)]
    (found,) = sql.fetch(f"SELECT {asked}", params)
    return [word for word, there in zip(wanted, found, strict=True) if not there]


# --- One by one ---------------------------------------------------------------------------------


def _one_by_one(
    live: IcpVersion | None, scorer: scoring.Scorer
) -> list[tuple[Move, scoring.Score, int]]:
    """Leads without kept points: how each fares, its score, and which of its criteria are known."""
    scores = LeadScore.objects.filter(version=live, lead_id=OuterRef("pk"))
    without = Lead.objects.filter(~Exists(scores.filter(packed__isnull=False)))
    rows = drafts.stored(without.order_by("pk")[: ONE_BY_ONE + 1])
    if len(rows) > ONE_BY_ONE:
        raise Refused(
            _("These scores are older than the preview. Publish a version once, then look again."),
            code="preview_not_ready",
        )
    if not rows:
        return []
    stored = LeadScore.objects.filter(version=live, packed=None)
    old = {row[0]: row[1:] for row in stored.values_list("lead_id", "total", "band", "eligible")}
    found = []
    for row in rows:
        profile = row.profile()
        score = scorer.score(profile)
        total, band, eligible = old.get(row.id, (0, NO_BAND, False))
        new = Band[score.band.name].value
        move = Move(row.id, total, band, eligible, score.total, new, score.ineligible_reason)
        found.append((move, score, facts_of(profile).known))
    return found


def _wanted(move: Move, old: str, new: str) -> bool:
    if not (old or new):
        return bool(move.by) or move.band != move.new_band
    was = move.band or UNSCORED
    return (not old or was == old) and (not new or move.new_band == new)


def _band(scorer: scoring.Scorer, total: int) -> str:
    return Band[scorer.band(total).name].value
