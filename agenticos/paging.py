"""Paging by key: the next page begins after the last row seen, however deep one is.

A page costs the same at any depth and counts nothing. The order is a tuple of fields whose last
one is unique, all of them whole numbers; a cursor is their values in one row, as text for a URL.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, Q, QuerySet

M = TypeVar("M", bound=Model)
SIZE = 50


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """The rows of one page, and the cursors of its neighbours ('' where there is none)."""

    rows: list[M]
    next: str = ""
    previous: str = ""

    @property
    def is_whole(self) -> bool:
        return not (self.next or self.previous)


def page(
    queryset: QuerySet[M],
    order: Sequence[str],
    *,
    after: str = "",
    before: str = "",
    size: int = SIZE,
) -> Page[M]:
    """One page of `queryset` in `order` ("-total", "pk"); a cursor that is not one is ignored.

    >>> encode((70, 12)) == encode((70, 12)) and decode(encode((70, 12)), 2)
    [70, 12]
    """
    fields = [name.lstrip("-") for name in order]
    key = decode(before or after, len(fields))
    back = bool(before) and key is not None
    wanted = [_flip(name) for name in order] if back else list(order)
    rows = queryset.order_by(*wanted)
    if key is not None:
        rows = rows.filter(_beyond(wanted, key))
    found = list(rows[: size + 1])
    more, found = len(found) > size, found[:size]
    if back:
        found.reverse()
    has_next, has_previous = (bool(found), more) if back else (more, key is not None)
    return Page(
        found,
        next=encode([getattr(found[-1], name) for name in fields]) if found and has_next else "",
        previous=(
            encode([getattr(found[0], name) for name in fields]) if found and has_previous else ""
        ),
    )


def encode(values: Sequence[int]) -> str:
    """The cursor of a row, from the values of the order's fields."""
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode().rstrip("=")


def decode(cursor: str, length: int) -> list[int] | None:
    """The values in a cursor, or None when it is empty or not one of ours."""
    if not cursor:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        return None
    # A cursor comes from outside: it may hold only what fits a bigint column.
    good = isinstance(values, list) and len(values) == length
    whole = good and all(type(value) is int and abs(value) < 2**63 for value in values)
    return values if whole else None


def _flip(name: str) -> str:
    return name[1:] if name.startswith("-") else f"-{name}"


def _beyond(order: Sequence[str], key: Sequence[int]) -> Q:
    """Rows that come after `key` in `order`: a > x, or a = x and b > y, …

    The first bound is said once more for all, so that an index on the order is entered at it.
    """
    found = Q()
    same = Q()
    for name, value in zip(order, key, strict=True):
        field, sign = (name[1:], "lt") if name.startswith("-") else (name, "gt")
        found |= same & Q(**{f"{field}__{sign}": value})
        same &= Q(**{field: value})
    first = order[0]
    field, sign = (first[1:], "lte") if first.startswith("-") else (first, "gte")
    return Q(**{f"{field}__{sign}": key[0]}) & found
