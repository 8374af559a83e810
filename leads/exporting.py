"""Leads as CSV: cells that no spreadsheet runs, written in parts that are sent as one file."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from leads import importing
from leads.models import Lead, LeadTag

# The fields of a file are named as the import knows them, so an export can be imported again.
COLUMNS: Final[dict[str, Promise]] = {
    "handle": _("Handle"),
    "name": _("Name"),
    "score": _("Score"),
    "band": _("Band"),
    "bio": _("Bio"),
    "followers": _("Followers"),
    "following": _("Following"),
    "posts": _("Posts"),
    "recent_posts": _("Recent posts"),
    "engagement": _("Engagement, %"),
    "is_private": _("Private profile"),
    "is_business": _("Business account"),
    "is_verified": _("Verified"),
    "category": _("Category"),
    "frequency": _("Posting frequency"),
    "email": _("E-mail"),
    "phone": _("Phone"),
    "city": _("City"),
    "website": _("Website"),
    "ghl_id": _("GHL contact"),
    "source": _("Source"),
    "owner": _("Owner"),
    "tags": _("Tags"),
    "created_at": _("Added"),
    "first_touch_at": _("First message"),
    "suppressed_at": _("Do not contact since"),
}
DEFAULT: Final = ("handle", "name", "score", "band", "followers", "email", "phone", "city", "tags")
# What a spreadsheet takes for the beginning of a formula; `importing.cells.unguard` undoes it.
_RISKY: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Where a column is found under another name than its own.
_FOUND: Final = {"score": "total", "owner": "owner__user__email"}


def safe_cell(value: Any) -> str:
    """A value as a cell that is text to every spreadsheet; numbers stay numbers.

    >>> safe_cell("=1+1"), safe_cell("+5511988887777"), safe_cell(-3), safe_cell(None)
    ("'=1+1", "'+5511988887777", '-3', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if not isinstance(value, str):
        return format(value, "f") if hasattr(value, "as_tuple") else str(value)
    # White space before a formula does not keep a spreadsheet from running it.
    risky = value.startswith(_RISKY) or value.lstrip().startswith(_RISKY)
    return f"'{value}" if risky else value


def as_csv(header: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as CSV, every cell in quotes; a header makes it the beginning of a file."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    if header is not None:
        out.write("\ufeff")  # or spreadsheets take it for another encoding
        writer.writerow(header)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def rows_of(lead_ids: Sequence[int], columns: Sequence[str], version_id: int) -> list[list[Any]]:
    """The cells of these leads, in the order of their ids; two statements for any number."""
    tags: dict[int, list[str]] = {}
    if "tags" in columns:
        named = LeadTag.objects.filter(lead_id__in=lead_ids).order_by("name")
        for lead_id, name in named.values_list("lead_id", "name"):
            tags.setdefault(lead_id, []).append(name)
    wanted = [_FOUND.get(name, name) for name in columns if name != "tags"]
    leads: Any = Lead.objects.filter(pk__in=lead_ids)
    found = leads.scored_under(version_id).order_by("pk").values("id", *wanted)
    return [
        [
            "; ".join(tags.get(row["id"], ())) if name == "tags" else row[_FOUND.get(name, name)]
            for name in columns
        ]
        for row in found
    ]


def store_part(folder: str, content: bytes) -> str:
    """Keep a part under a name of its own; return the name. A retry leaves the old one unused."""
    return default_storage.save(f"{_place(folder)}/{uuid.uuid4().hex}.csv", ContentFile(content))


def read_parts(names: Iterable[str]) -> Iterator[bytes]:
    """The parts of a file, one after the other, in pieces. Raises FileNotFoundError."""
    for name in names:
        with default_storage.open(name) as part:
            yield from part.chunks()


def remove_folder(folder: str) -> None:
    """Remove all parts of an export, also those of attempts that came to nothing."""
    try:
        _folders, names = default_storage.listdir(_place(folder))
    except FileNotFoundError:
        return
    for name in names:
        default_storage.delete(f"{_place(folder)}/{name}")
    default_storage.delete(_place(folder))


def _place(folder: str) -> str:
    return f"exports/{folder}"


assert set(importing.FIELDS) <= set(COLUMNS)  # noqa: S101 - an export may be imported again
