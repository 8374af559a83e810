"""What a change would do, as it is drawn: histogram, matrix, movers, how known the data is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from django.utils.translation import gettext as _

from leads import drafts, scoring, whatif
from leads.models import Band, Icp, Lead, LeadScore
from leads.scoring.values import CRITERIA
from tenants.models import Tenant

MOVERS: Final = 20
FEW: Final = 20  # below this many leads a histogram says less than its table
BIN: Final = 5
WIDTH, HEIGHT = 400, 130  # of the drawing, in its own units
STEP: Final = WIDTH * BIN / 100


class Bar(NamedTuple):
    """A piece of a column of the histogram."""

    css: str
    x: float
    y: float
    width: float
    height: float


class Bin(NamedTuple):
    """Leads whose total lies from `low` to `high`."""

    low: int
    high: int
    before: int
    after: int


class Cell(NamedTuple):
    """Leads that go from one band to another; `way` is up, same, down or new."""

    old: str
    new: str
    leads: int
    way: str


class MatrixRow(NamedTuple):
    """One old band: where its leads go."""

    old: str
    label: str
    css: str
    total: int
    cells: list[Cell]


class Covered(NamedTuple):
    """A criterion: how many leads' data is known, and how many earn points by it."""

    label: str
    is_off: bool
    known: int
    known_percent: int
    earning: int
    earning_percent: int
    warns: bool


class MoverRow(NamedTuple):
    """A lead that fares differently, and what moved it most."""

    lead: Lead
    move: whatif.Move
    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything the live part shows. Coordinates are those of a drawing of WIDTH x HEIGHT."""

    leads: int
    moved: int
    changed: int
    eligible_before: int
    eligible_after: int
    reasons: list[tuple[str, int]]
    bars: list[Bar]
    outline: str
    limits: list[tuple[str, int, float]]
    bins: list[Bin]
    bands: list[tuple[str, str]]
    after: list[tuple[str, str, int, int]]  # band, label, before, after
    matrix: list[MatrixRow]
    covered: list[Covered]
    unused: list[str]
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_drawn(self) -> bool:
        return self.leads >= FEW


def picture_of(effect: whatif.Effect, config: scoring.IcpConfig) -> Picture:
    """Lay out the counts of a what-if."""
    bins = _bins(effect)
    peak = max((max(one.before, one.after) for one in bins), default=0) or 1
    bands = [(value, str(label)) for value, label in Band.choices]
    limits = config.thresholds
    return Picture(
        leads=effect.leads,
        moved=effect.moved,
        changed=effect.changed,
        eligible_before=effect.eligible_before,
        eligible_after=effect.eligible_after,
        reasons=[
            (str(scoring.INELIGIBLE[why]), count)
            for why, count in effect.reasons.most_common()
            if why and count
        ],
        bars=_bars(effect, config, peak),
        outline=_outline(bins, peak),
        limits=[
            (css, value, value * WIDTH / 100)
            for css, value in (("hot", limits.hot), ("warm", limits.warm), ("cold", limits.cold))
        ],
        bins=bins,
        bands=bands,
        after=[
            (
                value,
                label,
                sum(count for (old, _new), count in effect.moves.items() if old == value),
                sum(count for (_old, new), count in effect.moves.items() if new == value),
            )
            for value, label in bands
        ],
        matrix=_matrix(effect, bands),
        covered=_covered(effect, config),
        unused=effect.unused,
    )


def mover_rows(
    tenant: Tenant, moves: list[whatif.Move], config: scoring.IcpConfig
) -> list[MoverRow]:
    """The leads of these moves, each with the criterion that moved most."""
    ids = [move.lead_id for move in moves]
    leads = tenant.leads.in_bulk(ids)
    icp = Icp.objects.filter(tenant=tenant).first()
    scores = LeadScore.objects.filter(version_id=icp.live_id if icp else 0, lead_id__in=ids)
    before = dict(scores.values_list("lead_id", "breakdown"))
    scorer = scoring.scorer_for(config)
    rows = []
    for move in moves:
        lead = leads.get(move.lead_id)
        if lead is None:  # deleted a moment ago
            continue
        lines = scorer.score(drafts.profile_of(lead)).lines
        rows.append(
            MoverRow(
                lead,
                move,
                _cause(move, before.get(lead.pk), lines),
                str(scoring.INELIGIBLE.get(move.why, "")),
            )
        )
    return rows


def _cause(move: whatif.Move, before: object, lines: tuple[scoring.Line, ...]) -> str:
    if not move.band:
        return _("No score yet")
    if not move.by:
        return _("The thresholds") if move.band != move.new_band else ""
    criterion, by = whatif.cause(before, lines)
    if not criterion:
        return ""
    return _("%(criterion)s: %(by)+d") % {
        "criterion": scoring.CRITERION_LABELS[criterion], "by": by
    }  # fmt: skip


# --- The histogram ------------------------------------------------------------------------------


def _bin_of(total: int) -> int:
    # 100 stands with 95 to 99.
    return min(total, 99) // BIN


def _bins(effect: whatif.Effect) -> list[Bin]:
    before, after = [0] * (100 // BIN), [0] * (100 // BIN)
    for counts, totals in ((before, effect.before), (after, effect.after)):
        for total, count in totals.items():
            counts[_bin_of(total)] += count
    last = len(before) - 1
    return [
        Bin(at * BIN, at * BIN + BIN - (at != last), before[at], after[at])
        for at in range(len(before))
    ]


def _bars(effect: whatif.Effect, config: scoring.IcpConfig, peak: int) -> list[Bar]:
    """The new totals: a column per bin, in it a piece per band, the best band on top."""
    scorer = scoring.scorer_for(config)
    pieces: dict[tuple[int, str], int] = {}
    for total, count in effect.after.items():
        key = (_bin_of(total), str(scorer.band(total)))
        pieces[key] = pieces.get(key, 0) + count
    bars, heights = [], [0.0] * (100 // BIN)
    for band in reversed(scoring.Band):
        for at in range(len(heights)):
            height = pieces.get((at, str(band)), 0) * HEIGHT / peak
            if height:
                heights[at] += height
                bars.append(
                    Bar(str(band), _round(at * STEP + 1), _round(HEIGHT - heights[at]),
                        _round(STEP - 2), _round(height))
                )  # fmt: skip
    return bars


def _outline(bins: list[Bin], peak: int) -> str:
    """The old totals as a line of steps."""
    points = [f"0,{HEIGHT}"]
    for at, one in enumerate(bins):
        y = _round(HEIGHT - one.before * HEIGHT / peak)
        points += [f"{_round(at * STEP)},{y}", f"{_round((at + 1) * STEP)},{y}"]
    return " ".join([*points, f"{WIDTH},{HEIGHT}"])


def _round(value: float) -> float:
    return round(value, 2)


# --- Tables -------------------------------------------------------------------------------------


def _matrix(effect: whatif.Effect, bands: list[tuple[str, str]]) -> list[MatrixRow]:
    order = [value for value, _label in bands]
    rows = []
    for old, label in [*bands, (whatif.NO_BAND, _("Not scored"))]:
        counts = [effect.moves.get((old, new), 0) for new in order]
        if not old and not any(counts):
            continue
        cells = [
            Cell(old or whatif.UNSCORED, new, count, _way(order, old, new))
            for new, count in zip(order, counts, strict=True)
        ]
        css = old.lower() or "nurturing"
        rows.append(MatrixRow(old or whatif.UNSCORED, label, css, sum(counts), cells))
    return rows


def _way(order: list[str], old: str, new: str) -> str:
    if not old:
        return "new"
    by = order.index(old) - order.index(new)
    return "up" if by > 0 else "down" if by < 0 else "same"


def _covered(effect: whatif.Effect, config: scoring.IcpConfig) -> list[Covered]:
    leads = effect.leads or 1
    rows = []
    for group, criterion, _maximum in CRITERIA:
        known, earning = effect.known[criterion], effect.earning[criterion]
        is_off = criterion in config.off or not getattr(config.weights, group)
        rows.append(
            Covered(
                str(scoring.CRITERION_LABELS[criterion]),
                is_off,
                known,
                100 * known // leads,
                earning,
                100 * earning // leads,
                bool(effect.leads) and not is_off and not earning,
            )
        )
    return rows
