"""The lock on a row that was read before: it may have been deleted since."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _

from agenticos.errors import Refused

Row = TypeVar("Row", bound=Model)


def locked(rows: QuerySet[Row], pk: int | None) -> Row:
    """The row of `rows` with this key, which has to be there still.

    Raises Refused with the code `gone` when somebody deleted it after it was read.
    """
    row = rows.filter(pk=pk).first()
    if row is None:
        raise Refused(_("Somebody has deleted this a moment ago."), code="gone")
    return row
