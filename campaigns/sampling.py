"""What a text says to real people, the awkward ones first, and how often its values are known."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from campaigns import rendering
from campaigns.facts import values_of
from leads.models import Band, Lead

SHOWN: Final = 20
# Longer names are worth a look: nobody wants a message that is mostly a name.
LONG_NAME: Final = 24

# What makes a person worth looking at, the worst first.
MARKS: Final[dict[str, Promise]] = {
    "missing": _("a value is missing"),
    "rtl": _("written from right to left"),
    "emoji": _("emoji in the name"),
    "long": _("a long name"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """The text for one lead; `missing` names values that are not known, `marks` are of MARKS."""

    lead: Lead
    text: str
    missing: tuple[str, ...]
    marks: tuple[str, ...]

    @property
    def band(self) -> str:
        """The lead's band, where it was asked for with its score."""
        return getattr(self.lead, "band", None) or ""

    @property
    def band_shown(self) -> str:
        return str(Band(self.band).label) if self.band else ""

    @property
    def marks_shown(self) -> list[str]:
        return [str(MARKS[mark]) for mark in self.marks]


@dataclass(frozen=True, slots=True)
class Fill:
    """How many of `total` leads have a value for a placeholder."""

    name: str
    label: str
    known: int
    total: int

    @property
    def percent(self) -> int:
        return round(100 * self.known / self.total) if self.total else 0


def samples(text: str, leads: Sequence[Lead], *, count: int = SHOWN) -> list[Sample]:
    """The text for up to `count` of the leads, as many of each band as can be; the awkward first.

    Raises BadTemplate.
    """
    return shown(text, leads, count=count)[0]


def shown(text: str, leads: Sequence[Lead], *, count: int) -> tuple[list[Sample], dict[str, int]]:
    """`samples`, and how many of the leads lack which value that the text needs: they are skipped.

    Raises BadTemplate.
    """
    template = rendering.parse(text)
    bands: dict[str, list[Sample]] = {}
    lacking: Counter[str] = Counter()
    for lead in leads:
        sample = _sample(template, lead)
        bands.setdefault(sample.band, []).append(sample)
        lacking.update(sample.missing)
    ordered = [_awkward_first(bands[band]) for band in sorted(bands, key=_rank)]
    return _awkward_first(_turns(ordered)[:count]), dict(lacking)


def _awkward_first(found: Sequence[Sample]) -> list[Sample]:
    """Those of each mark in turns, then the rest."""
    longest = sorted(found, key=lambda sample: -len(sample.lead.name))
    by_mark = [
        [sample for sample in (longest if mark == "long" else found) if mark in sample.marks]
        for mark in MARKS
    ]
    plain = [sample for sample in found if not sample.marks]
    unique = {sample.lead.pk: sample for sample in (*_turns(by_mark), *plain)}
    return list(unique.values())


def _turns(lists: Sequence[Sequence[Sample]]) -> list[Sample]:
    """The first of each list, then the second of each, and so on."""
    return [sample for turn in zip_longest(*lists) for sample in turn if sample]


def _rank(band: str) -> int:
    """The best band first; who has no score comes last."""
    return Band.values.index(band) if band in Band.values else len(Band.values)


def fills(leads: Sequence[Lead]) -> list[Fill]:
    """For every placeholder, for how many of these leads it has a value."""
    known: Counter[str] = Counter()
    for lead in leads:
        known.update(name for name, value in values_of(lead).items() if value.strip())
    return [
        Fill(name, str(label), known[name], len(leads))
        for name, label in rendering.PLACEHOLDERS.items()
    ]


def _sample(template: rendering.Template, lead: Lead) -> Sample:
    rendered = rendering.render(template, values_of(lead), seed=_seed(lead))
    marks = (
        ("missing", bool(rendered.missing)),
        ("rtl", _is_rtl(lead.name)),
        ("emoji", _has_emoji(lead.name)),
        ("long", len(lead.name) > LONG_NAME),
    )
    return Sample(lead, rendered.text, rendered.missing, tuple(name for name, yes in marks if yes))


def _seed(lead: Lead) -> str:
    return f"preview:{lead.pk}"


def _is_rtl(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def _has_emoji(text: str) -> bool:
    return any(unicodedata.category(char) == "So" for char in text)
