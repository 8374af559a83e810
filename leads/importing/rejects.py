"""Refused rows as CSV, to be mended and imported again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from leads.importing.sentences import sentence_for

# What a spreadsheet would run as a formula; the import takes the ' off again.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_OURS: Final = ["line", "reason"]


class Refusal(Protocol):
    """A row that was refused: an upserting.Problem, or its stored row."""

    @property
    def line(self) -> int: ...
    @property
    def code(self) -> str: ...
    @property
    def params(self) -> Mapping[str, str | int]: ...
    @property
    def raw(self) -> Sequence[str]: ...


class _Echo:
    """A file that gives back what is written."""

    def write(self, text: str) -> str:
        return text


def reject_lines(
    headers: Sequence[str], refused: Iterable[Refusal], *, delimiter: str = ","
) -> Iterator[str]:
    """The lines of a CSV file: line and reason first, then the columns as they were.

    Begins with the mark that tells spreadsheets that this is UTF-8. Every cell is quoted, and none
    is a formula. The reasons are in the reader's language.
    """
    # A file of rejects that was mended has them already.
    skip = 2 if list(headers[:2]) == _OURS else 0
    writer = csv.writer(_Echo(), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    yield "\ufeff" + str(writer.writerow([*_OURS, *map(harmless, headers[skip:])]))
    for one in refused:
        cells = one.raw[skip:] if len(one.raw) > 1 else one.raw
        reason = sentence_for(one.code, one.params)
        yield str(writer.writerow([one.line, harmless(reason), *map(harmless, cells)]))


def harmless(cell: str) -> str:
    """The cell, which a spreadsheet shows and does not run.

    >>> harmless("=1+1"), harmless("Ana")
    ("'=1+1", 'Ana')
    """
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell
