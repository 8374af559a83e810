"""Rows that a program sends as objects: the same cleaning as a file's cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leads.identities import normalise_handle
from leads.importing.cells import DoubtError, RefusedError, cleaners, is_nothing, unguard
from leads.importing.dialect import CONTROL
from leads.importing.limits import MAX_CELL, TARGETS, Value
from leads.importing.reader import Rejected, Row


def read_object(place: int, given: object, *, region: str = "BR") -> Row | Rejected:
    """Turn `{"handle": …, "followers": …}` into clean values, or say why not.

    `place` stands where a file has its line. null and "" mean that nothing is known.

    >>> read_object(0, {"handle": "@Ana", "followers": 1200, "is_private": False}).values
    {'handle': 'ana', 'followers': 1200, 'is_private': False}
    >>> read_object(0, {"handel": "ana"}).code
    'unknown_field'
    """
    if not isinstance(given, Mapping):
        return Rejected(place, "not_an_object", {}, [])
    cells: dict[str, str] = {}
    for name, value in given.items():
        if name not in TARGETS:
            return Rejected(place, "unknown_field", {"field": str(name)[:60]}, [])
        text = _as_cell(value)
        if text is None:
            return Rejected(place, "bad_value", {"field": name}, [])
        if len(text.encode()) > MAX_CELL:
            return Rejected(place, "cell_too_long", {"limit": MAX_CELL // 1024}, [])
        if CONTROL.search(text):
            return Rejected(place, "control_character", {}, [])
        cells[name] = text
    written, url = unguard(cells.pop("handle", "")), unguard(cells.pop("profile_url", ""))
    handle = normalise_handle(written) or normalise_handle(url)
    if handle is None:
        shown = written or url
        if is_nothing(shown):
            return Rejected(place, "no_handle", {}, [])
        return Rejected(place, "bad_handle", {"value": shown[:60]}, [])
    values: dict[str, Value] = {"handle": handle}
    warnings = []
    if written and not is_nothing(written) and normalise_handle(written) is None:
        warnings.append("handle_from_url")
    clean = cleaners(region)
    for name, text in cells.items():
        if not text:
            continue
        try:
            found: Value | None = clean[name](text)
        except DoubtError as doubt:
            found = doubt.value
            warnings.append(doubt.code)
        except RefusedError as refused:
            return Rejected(place, refused.code, {"field": name, "value": refused.text[:60]}, [])
        if found is not None:
            values[name] = found
    return Row(place, values, tuple(warnings), [])


def _as_cell(value: Any) -> str | None:
    """A JSON value as a cell would hold it; None for what no cell can."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".")
    return None
