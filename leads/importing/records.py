"""From bytes to records: lines, quotes, broken quotes, and the place between two records."""

from __future__ import annotations

import csv
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from leads.identities import fold
from leads.importing.cells import unguard
from leads.importing.dialect import BOM_BYTES, CONTROL, CONTROL_BYTES, SEP_LINE, Dialect
from leads.importing.limits import BLOCK, MAX_CELL, MAX_COLUMNS
from leads.importing.sentences import BadFile


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place between two records: byte offset, physical line there (from 1), records read.

    `suspect_until` is the offset up to which rows need all their cells (see Broken quotes).
    `Checkpoint(**asdict(checkpoint))` makes an equal one.
    """

    offset: int = 0
    line: int = 1
    records: int = 0
    suspect_until: int = 0


def read_header(stream: BinaryIO, dialect: Dialect) -> list[str]:
    """Give the column names, trimmed. Raises BadFile when one is empty or there twice, when there
    are over 200, or when there is no line at all."""
    return header_of(Records(stream, dialect))


def header_of(records: Records) -> list[str]:
    """The column names in the first record; see `read_header`."""
    found = records.header()
    if found is None:
        raise BadFile("empty_file")
    headers = [unguard(cell).strip().removeprefix("\ufeff") for cell in found]
    if len(headers) > MAX_COLUMNS:
        raise BadFile("too_many_columns", columns=len(headers), limit=MAX_COLUMNS)
    seen: set[str] = set()
    for number, header in enumerate(headers, start=1):
        if not header:
            raise BadFile("empty_header", column=number)
        key = fold(header)
        if key in seen:
            raise BadFile("duplicate_header", header=header[:80])
        seen.add(key)
    return headers


class Record(NamedTuple):
    """One record as it stands in the file; `cells` is None when it cannot be told apart."""

    line: int
    cells: list[str] | None
    trouble: str
    raw: list[str]


_LONGEST_LINE: Final = 8 * 1024**2


class Records:
    """The records of a stream from any record boundary on, with the byte offset of the next.

    Lines without a quote are most lines and are simply split; the others go through `csv` with
    `strict`, which takes further lines as it needs them.
    """

    # What one record may take over several lines before its quote counts as broken.
    _LONGEST = 256 * 1024

    def __init__(self, stream: BinaryIO, dialect: Dialect, start: Checkpoint | None = None) -> None:
        self._stream = stream
        self._dialect = dialect
        start = start or Checkpoint()
        self.offset = start.offset
        if not self.offset and dialect.has_bom:
            self.offset = BOM_BYTES[dialect.encoding]
        self.line = start.line
        self.suspect_until = start.suspect_until
        self.columns = 0
        self._read_to = self.offset
        self._wide = dialect.encoding.startswith("utf-16")
        self._newline = dialect.newline.encode(dialect.encoding)
        self._tail = b""
        self._ended = False
        # Lines read and not yet used: [at] is the next one.
        self._lines: list[bytes] = []
        self._at = 0
        self._clean = True
        # Lines that the csv reader has taken for the record it is working on.
        self._taken: list[bytes] = []
        self._csv = csv.reader(
            _Feed(self),
            delimiter=dialect.delimiter,
            skipinitialspace=True,
            strict=True,
        )

    def header(self) -> list[str] | None:
        """The first record's cells, past a line that only names the delimiter."""
        for record in self:
            if record.cells is None:
                raise BadFile("bad_header")
            if len(record.cells) > 2 or not SEP_LINE.fullmatch(
                self._dialect.delimiter.join(record.cells)
            ):
                return record.cells
        return None

    def __iter__(self) -> Iterator[Record]:
        encoding, delimiter = self._dialect.encoding, self._dialect.delimiter
        wide, newline = self._wide, self._dialect.newline
        while self._at < len(self._lines) or self._fill():
            # By index, since a record over several lines takes more and a broken one gives back.
            raw = self._lines[self._at]
            quoted = (b'"' in raw) if not wide else (b'"\x00' in raw or b'\x00"' in raw)
            if quoted or len(raw) > MAX_CELL:
                record = self._careful()
                if record is not None:
                    yield record
                continue
            self._at += 1
            line = self.line
            self.line += 1
            self.offset += len(raw)
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError:
                yield Record(line, None, "not_text", [_shown(raw, encoding)])
                continue
            # Only now a blank line: with accents and tabs about, bytes would not tell.
            text = text.removesuffix(newline)
            if newline == "\n" and text.endswith("\r"):
                text = text[:-1]
            if not text or text.isspace():
                continue
            if not self._clean and (CONTROL.search(text) or "\r" in text):
                yield Record(line, None, _control_code(text), text.split(delimiter))
                continue
            cells = text.split(delimiter)
            yield Record(line, cells, self._suspect(cells, self.offset), cells)

    def _suspect(self, cells: list[str], end: int) -> str:
        if end <= self.suspect_until and len(cells) < self.columns:
            return "broken_quote"
        return ""

    def _careful(self) -> Record | None:
        """The next record, where there may be quotes, or a line long enough for a long cell."""
        line, start, encoding = self.line, self.offset, self._dialect.encoding
        del self._taken[:]
        trouble, cells = "", None
        try:
            cells = next(self._csv)
        except csv.Error as error:
            trouble = _csv_trouble(str(error))
        except UnicodeDecodeError:
            trouble = "not_text"
        taken = list(self._taken)
        del self._taken[:]
        several = len(taken) > 1
        raw = cells if cells is not None and not several else [_shown(taken[0], encoding)]
        if cells is not None:
            if several and self._swallowed(cells, taken):
                trouble = "broken_quote"
            else:
                trouble = self._trouble_in(cells)
        if trouble and several:
            # All lines but the first are given back, and read anew with suspicion. A cell that
            # grew too long over several lines was most likely never closed.
            self._at -= len(taken) - 1
            self.offset = start + len(taken[0])
            self.line = line + 1
            self.suspect_until = max(self.suspect_until, start + sum(map(len, taken)))
            code = trouble if trouble == "not_text" else "broken_quote"
            return Record(line, None, code, raw)
        self.offset = start + sum(map(len, taken))
        self.line = line + len(taken)
        if cells is None or trouble:
            return Record(line, None, trouble, raw)
        if len(cells) <= 1 and not "".join(cells).strip():
            return None
        return Record(line, cells, self._suspect(cells, self.offset), cells)

    def _swallowed(self, cells: list[str], taken: list[bytes]) -> bool:
        """Whether a record over several lines looks like rows run together by a stray quote."""
        if not self.columns or len(cells) == self.columns:
            return False
        if len(cells) > self.columns:
            return True
        delimiter = self._dialect.delimiter.encode(self._dialect.encoding)
        return any(line.count(delimiter) >= self.columns - 1 for line in taken[1:])

    def _trouble_in(self, cells: list[str]) -> str:
        for cell in cells:
            if len(cell) * 4 > MAX_CELL and len(cell.encode("utf-8", "replace")) > MAX_CELL:
                return "cell_too_long"
            if not self._clean and CONTROL.search(cell):
                return _control_code(cell)
        return ""

    def take(self) -> str:
        """Give the csv reader its next line; StopIteration where a record must end."""
        if self._at >= len(self._lines) and not self._fill():
            raise StopIteration
        raw = self._lines[self._at]
        if self._taken and sum(map(len, self._taken)) + len(raw) > self._LONGEST:
            raise StopIteration
        self._at += 1
        self._taken.append(raw)
        text = raw.decode(self._dialect.encoding)
        # The csv module ends a record at CR LF or LF, but not at a CR that more text follows.
        return text[:-1] + "\n" if text.endswith("\r") else text

    def _fill(self) -> bool:
        """Read on by one block; False at the end of the stream."""
        # What is used is let go, except the lines that a broken record may have to give back.
        keep = self._at - len(self._taken) if self._taken else self._at
        del self._lines[:keep]
        self._at -= keep
        if not self._lines:
            self._clean = True
        while not self._ended:
            self._stream.seek(self._read_to)
            block = self._stream.read(BLOCK)
            self._read_to += len(block)
            data = self._tail + block
            if not block:
                self._ended = True
                self._tail = b""
                lines = [data] if data else []
            elif self._wide:
                lines, self._tail = self._split_wide(data)
            else:
                *found, self._tail = data.split(self._newline)
                newline = self._newline
                lines = [line + newline for line in found]
            self._clean = self._clean and self._is_clean(data)
            if lines:
                self._lines += lines
                return True
            if len(self._tail) > _LONGEST_LINE:
                raise BadFile("line_too_long", line=self.line)
        return False

    def _is_clean(self, data: bytes) -> bool:
        """Whether no line of a block can hold a control character or a lone CR."""
        if self._wide:
            return False
        if len(data.translate(None, CONTROL_BYTES)) != len(data):
            return False
        return self._newline == b"\r" or data.count(b"\r") == data.count(b"\r\n")

    def _split_wide(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Cut UTF-16 after its line breaks: the two bytes must start at an even place."""
        lines, start, at = [], 0, 0
        while (at := data.find(self._newline, at)) >= 0:
            if at % 2:
                at += 1
                continue
            at += 2
            lines.append(data[start:at])
            start = at
        return lines, data[start:]


class _Feed:
    """Lines for the csv reader. Not a generator: it must go on after it has said "no more".

    The records hold the reader and the reader this. A circle would keep a block of lines, half a
    megabyte for each chunk of an import, until the collector comes.
    """

    def __init__(self, records: Records) -> None:
        self._records: Records = weakref.proxy(records)

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        return self._records.take()


def _csv_trouble(message: str) -> str:
    # The csv module has one exception for everything and tells by its text.
    if "field limit" in message:
        return "cell_too_long"
    return "control_character" if "new-line" in message else "broken_quote"


def _control_code(text: str) -> str:
    return "nul_byte" if "\x00" in text else "control_character"


def _shown(raw: bytes, encoding: str) -> str:
    return raw.decode(encoding, "replace").rstrip("\r\n")
