"""A score, and its breakdown as it is stored and read again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from leads.scoring.values import CRITERIA, Band, Line

_GROUP_OF: Final = {criterion: group for group, criterion, _maximum in CRITERIA}


@dataclass(frozen=True, slots=True)
class Score:
    """A total of 0-100 with the lines that sum to it exactly.

    `breakdown` is what is stored, small JSON: `[criterion, points, maximum, evidence]` per line,
    with None for evidence where the data is missing. `coverage` is the percentage (0-100) of the
    attainable points whose data was known. `ineligible_reason` is a code of `INELIGIBLE`, or ''
    when the lead is eligible. `packed` is what `facts.pack` makes of the natural points.
    """

    total: int
    band: Band
    eligible: bool
    ineligible_reason: str
    breakdown: list[list[Any]]
    coverage: int
    packed: int = 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """The breakdown, each line with its group."""
        return from_compact(self.breakdown)


def from_compact(rows: Iterable[Any]) -> tuple[Line, ...]:
    """Rebuild the lines of a stored breakdown. Raises ValueError when `rows` is something else.

    >>> from_compact([["title", 5, 5, "dra"]])[0].group
    'bio'
    """
    lines = []
    for row in rows:
        try:
            criterion, points, maximum, evidence = row
            group = _GROUP_OF[criterion]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a line of a breakdown: {row!r}") from error
        lines.append(Line(group, criterion, points, maximum, evidence or "", evidence is None))
    return tuple(lines)


def what_would_lift(lines: Iterable[Line]) -> list[Line]:
    """Give the lines with points still to gain, the largest gain first.

    >>> from leads.scoring import Profile, score
    >>> [line.criterion for line in what_would_lift(score(Profile()).lines)][:2]
    ['decision_maker', 'follow_ratio']
    """
    return sorted(
        (line for line in lines if line.points < line.maximum),
        key=lambda line: line.points - line.maximum,
    )
