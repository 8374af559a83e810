"""How much goes wrong: the share of errors among what was settled in a sliding window.

Asked only after an error, of rows that are there anyway, so a send that goes well pays nothing.
A message that failed or whose outcome nobody knows is an error, whoever is to blame: a list of
people who are gone costs an account its standing as much as a bad text does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.db.models import Count, QuerySet

from campaigns.models import Message

LEAST: Final = 5  # errors, before a share means anything
NAMED: Final = 3  # reasons that are named
_ERRORS: Final = (Message.State.FAILED, Message.State.UNKNOWN)
_OUTCOMES: Final = (Message.State.SENT, *_ERRORS)


class Limited(Protocol):
    """What has a threshold: a campaign, an account. 0 percent: none."""

    error_percent: int
    error_window_min: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Errors among the outcomes of a window, and the commonest reasons with their numbers."""

    errors: int
    outcomes: int
    minutes: int
    reasons: tuple[tuple[str, int], ...]

    def exceeds(self, percent: int) -> bool:
        """Whether errors reach this share, and are enough to tell."""
        return self.errors >= LEAST and self.errors * 100 >= percent * self.outcomes

    def __str__(self) -> str:
        """Numbers and codes alone, to be stored: "6/8 · 60 min · recipient_gone 6"."""
        named = [f"{code or '?'} {number}" for code, number in self.reasons[:NAMED]]
        return " · ".join([f"{self.errors}/{self.outcomes}", f"{self.minutes} min", *named])


def too_high(
    limit: Limited, rows: QuerySet[Message], now: datetime, *, since: datetime | None
) -> Rate | None:
    """The error rate of `rows` when it reaches the threshold, else None.

    What was settled before `since`, when a person let it go on, no longer counts.
    """
    if not limit.error_percent:
        return None
    begins = now - timedelta(minutes=limit.error_window_min)
    settled = rows.filter(state__in=_OUTCOMES, updated_at__gte=max(begins, since or begins))
    found = settled.order_by().values_list("state", "reason").annotate(number=Count("pk"))
    errors, outcomes = [], 0
    for state, reason, number in found:
        outcomes += number
        if state in _ERRORS:
            errors.append((reason, number))
    errors.sort(key=lambda row: (-row[1], row[0]))
    total = sum(number for _, number in errors)
    rate = Rate(total, outcomes, limit.error_window_min, tuple(errors))
    return rate if rate.exceeds(limit.error_percent) else None
