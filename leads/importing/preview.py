"""The beginning of a file as a person sees it before anything is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Final

from leads.importing.dialect import Dialect
from leads.importing.limits import MAX_COLUMNS
from leads.importing.records import Records, header_of
from leads.importing.sentences import BadFile

ROWS: Final = 10
SHOWN: Final = 200  # characters of a cell


@dataclass(frozen=True, slots=True)
class Peek:
    """The columns and first rows; with `fault` the file cannot be imported like this.

    Without columns the first row is the one that should have named them.
    """

    headers: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    fault: BadFile | None = None

    def samples(self, column: int, count: int = 3) -> list[str]:
        """The first different values of a column."""
        cells = (row[column].strip() for row in self.rows if column < len(row))
        return list(dict.fromkeys(filter(None, cells)))[:count]


def peek(stream: BinaryIO, dialect: Dialect) -> Peek:
    """Read the header and the first rows; what is wrong comes back and is not raised."""
    records, headers = Records(stream, dialect), []
    fault: BadFile | None = None
    rows: list[list[str]] = []
    try:
        headers = header_of(records)
        records.columns = len(headers)
    except BadFile as error:
        fault, records = error, Records(stream, dialect)
    try:
        for record in islice(records, ROWS):
            cells = record.raw if record.cells is None else record.cells
            rows.append([_shown(cell) for cell in cells[:MAX_COLUMNS]])
    except BadFile as error:
        fault = fault or error
    return Peek(headers, rows, fault)


def _shown(cell: str) -> str:
    text = cell.replace("\x00", "\ufffd")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
