"""Where one person stands in text that is not their own row: found by their identities alone.

A cell or a value is theirs when it is one of their identities in any spelling; a word inside of
longer text is theirs only where providers speak. So "maria" takes nothing from other Marias.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db import models
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.models import Lead

# Between two cells of a file, or the parts of a profile's address.
_EDGE = r"[;,\t|\"'\r\n/@?]"


@dataclass(frozen=True)
class Person:
    """The identities of a lead, and the name that takes their place."""

    handle: str
    others: tuple[str, ...]  # e-mail, phone, and what providers call them, as far as known
    alias: str

    @classmethod
    def of(cls, lead: Lead, alias: str) -> Person:
        others = (lead.email, lead.phone, lead.ghl_id, lead.instagram_scoped_id)
        return cls(lead.handle, tuple(filter(None, others)), alias)

    @property
    def identities(self) -> tuple[str, ...]:
        return (self.handle, *self.others)

    def is_them(self, text: str) -> bool:
        """Whether a text says this person and nothing else."""
        if text.strip() in self.identities:
            return True
        reads = (normalise_handle, normalise_email, normalise_phone)
        return any(read(text) in self.identities for read in reads)

    def replaced(self, value: Any) -> Any:
        """The value with each text in it that is them replaced; keys of objects stay."""
        if isinstance(value, str):
            return self.alias if self.is_them(value) else value
        if isinstance(value, list):
            return [self.replaced(each) for each in value]
        if isinstance(value, dict):
            return {key: self.replaced(each) for key, each in value.items()}
        return value

    def in_query(self, query: str) -> str:
        """An address's query with their identities replaced."""
        pairs = parse_qsl(query, keep_blank_values=True)
        clean = [(name, self.replaced(value)) for name, value in pairs]
        return query if clean == pairs else urlencode(clean)

    @cached_property
    def _word(self) -> re.Pattern[str]:
        others = "|".join(re.escape(one) for one in self.others)
        handle = rf"(?<![\w.])@?{re.escape(self.handle)}(?![\w]|\.\w)"
        return re.compile(f"{others}|{handle}" if others else handle, re.IGNORECASE)

    def in_words(self, text: str) -> str:
        """Free text with their identities replaced, wherever they stand."""
        return self._word.sub(self.alias, text)

    @cached_property
    def _cell(self) -> re.Pattern[str]:
        handle = rf"(?:^|{_EDGE})\s*{re.escape(self.handle)}\s*(?:$|{_EDGE})"
        others = [re.escape(one) for one in self.others]
        return re.compile("|".join([handle, *others]), re.IGNORECASE | re.MULTILINE)

    def is_in_file(self, file: Any, encoding: str) -> bool:
        """Whether a stored CSV file names them. Read line by line, so it may be large."""
        with file.open("rb") as stream:
            text = io.TextIOWrapper(stream, encoding or "utf-8", errors="replace", newline="\n")
            found = any(self._cell.search(line) for line in text)
            text.detach()
        return found

    def candidates(self, rows: models.QuerySet[Any], *names: str) -> Iterator[Any]:
        """Rows in which one of these columns, text or JSON, may name them: all that do."""
        anyone = Q()
        for name in names:
            rows = rows.annotate(**{f"{name}_as_text": Cast(name, TextField())})
            for one in self.identities:
                anyone |= Q(**{f"{name}_as_text__icontains": one})
        return rows.filter(anyone).order_by("pk").iterator()


def replace_in(
    rows: models.QuerySet[Any], person: Person, names: Sequence[str], *, words: bool = False
) -> int:
    """Replace the person in these columns; return how many rows changed.

    `words`: the columns hold free text, in which they may stand between other words.
    """
    changed = 0
    for row in person.candidates(rows, *names):
        news = {}
        for name in names:
            value = getattr(row, name)
            clean = person.in_words(value) if words else person.replaced(value)
            if clean != value:
                news[name] = clean
        if news:
            changed += type(row).objects.filter(pk=row.pk).update(**news)
    return changed
