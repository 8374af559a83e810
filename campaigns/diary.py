"""What a slice says of its messages: one line per campaign and outcome, with their ids.

A line for each message would cost more than sending it fast; a line per slice would be as long as
the slice was busy. So ids are collected, and written when a hundred have come together, when
nothing is in flight, and at the end. A killed worker takes what it had not written; the rows know.
"""

from __future__ import annotations

import logging
from collections import defaultdict

from agenticos import logs, meters
from campaigns.ledger import Held, Outcome
from integrations.errors import Fault, Rejected, TryLater, Unsure

logger = logging.getLogger(__name__)
FULL = 100


class Diary:
    """Collects settled rows, counts them for metrics, and writes the lines."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int, str, str], list[Held]] = defaultdict(list)
        self._held = 0

    def note(self, held: Held, outcome: Outcome, channel: str) -> None:
        """One row that was settled."""
        result = result_of(outcome)
        if outcome.called:
            meters.SENDS.labels(channel, result).inc()
        logs.count(**{result: 1})
        reason = outcome.error.code if outcome.error else ""
        self._rows[held.tenant_id, held.campaign_id, result, reason].append(held)
        self._held += 1
        if self._held >= FULL:
            self.write()

    def write(self) -> None:
        """Write what has been collected."""
        if not self._held:
            return
        rows, self._rows, self._held = self._rows, defaultdict(list), 0
        for (tenant_id, campaign_id, result, reason), helds in rows.items():
            extra = {
                "tenant": tenant_id,
                "campaign": campaign_id,
                "state": result,
                "reason": reason,
                "messages": [held.id for held in helds],
                "leads": [held.lead_id for held in helds],
            }
            logger.info("campaign.messages", extra=extra)


def result_of(outcome: Outcome) -> str:
    """An outcome in one word, of five: sent, later, unknown, failed, returned (not its fault)."""
    error = outcome.error
    if error is None:
        return "sent" if outcome.called else "returned"
    if isinstance(error, TryLater):
        return "later"
    if isinstance(error, Unsure):
        return "unknown"
    return "returned" if isinstance(error, Rejected) and error.fault is Fault.ACCOUNT else "failed"
