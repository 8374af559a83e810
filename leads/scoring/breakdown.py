"""A breakdown as it is stored and read again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from leads.scoring.values import CRITERIA, Line

_GROUP_OF: Final = {criterion: group for group, criterion, _maximum in CRITERIA}


def to_compact(lines: Iterable[Line]) -> list[list[Any]]:
    """Give a breakdown as small JSON: `[criterion, points, maximum, evidence or null]` per line.

    null stands for missing data. `sum(row[1] for row in ...)` is the total.

    >>> to_compact([Line("bio", "title", 5, 5, "dra", False), Line("profile", "posts", 0, 5, "", \
True)])
    [['title', 5, 5, 'dra'], ['posts', 0, 5, None]]
    """
    return [
        [line.criterion, line.points, line.maximum, None if line.missing else line.evidence]
        for line in lines
    ]


def from_compact(rows: Iterable[Any]) -> tuple[Line, ...]:
    """Rebuild the lines of `to_compact`. Raises ValueError when `rows` is something else.

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
