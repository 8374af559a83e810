"""Leads as they will stand in the table, light enough for thousands at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db import models

from leads import importing, scoring
from leads.models import Lead

# The columns of a lead that a file can fill; `handle` is the key.
COLUMNS: Final = tuple(name for name in importing.FIELDS if name != "handle")
UNKNOWN: Final[dict[str, Any]] = {
    name: None if getattr(Lead._meta.get_field(name), "null", False) else "" for name in COLUMNS
}


@dataclass(slots=True)
class Draft:
    """A lead as it will stand in the table; `id` is 0 until it does."""

    id: int
    handle: str
    values: dict[str, Any]
    ghl_id: str = ""  # as stored
    changed: bool = False
    before: dict[str, Any] | None = None  # the stored values, once a row has changed some
    updates: int = 0
    suppressed: bool = False  # must not be written to, as far as is known
    new: bool = False  # has its id, and is in no table yet

    def profile(self) -> scoring.Profile:
        """What the scoring sees of the lead. Empty text in the table is unknown text."""
        known = self.values
        return scoring.Profile(
            self.handle,
            known["name"] or None,
            known["bio"] or None,
            known["followers"],
            known["following"],
            known["posts"],
            known["recent_posts"],
            known["engagement"],
            known["is_private"],
            known["is_business"],
            known["is_verified"],
            known["category"] or None,
            known["frequency"] or None,
            known["city"] or None,
            known["website"] or None,
        )


def stored(leads: models.QuerySet[Lead]) -> list[Draft]:
    """Stored leads in one SELECT, without the cost of model instances."""
    return [
        Draft(
            row[0],
            row[1],
            dict(zip(COLUMNS, row[2:-1], strict=True)),
            ghl_id=row[-2],
            suppressed=row[-1] is not None,
        )
        for row in leads.values_list("id", "handle", *COLUMNS, "suppressed_at")
    ]


assert COLUMNS[-1] == "ghl_id"  # noqa: S101 - what `stored` takes for granted


def profile_of(lead: Lead) -> scoring.Profile:
    """What the scoring sees of a lead."""
    values = {name: getattr(lead, name) for name in COLUMNS}
    return Draft(lead.pk, lead.handle, values).profile()
