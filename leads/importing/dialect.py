"""What kind of file is this? Encoding, delimiter, line breaks, and what is no CSV at all."""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO, Final, Literal

from leads.importing.limits import BLOCK, MAX_BYTES
from leads.importing.mapping import target_of
from leads.importing.sentences import BadFile

Delimiter = Literal[",", ";", "\t", "|"]
DELIMITERS: Final[tuple[Delimiter, ...]] = (",", ";", "\t", "|")
ENCODINGS: Final = ("utf-8", "cp1252", "utf-16-le", "utf-16-be")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written. `assumed`: not UTF-8, so cp1252 is a guess, which people are told."""

    encoding: str
    delimiter: Delimiter
    has_bom: bool
    assumed: bool
    newline: Literal["\n", "\r"] = "\n"

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values; `Dialect(**values)` makes an equal dialect."""
        return asdict(self)


_HEAD = 64 * 1024
_FOREIGN: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PK\x03\x04", "spreadsheet_or_zip"),
    (b"PK\x05\x06", "spreadsheet_or_zip"),
    (b"\xd0\xcf\x11\xe0", "spreadsheet_or_zip"),
    (b"\x1f\x8b", "spreadsheet_or_zip"),
    (b"7z\xbc\xaf", "spreadsheet_or_zip"),
    (b"Rar!", "spreadsheet_or_zip"),
    (b"%PDF", "binary"),
    (b"\x89PNG", "binary"),
    (b"\xff\xd8\xff", "binary"),
    (b"GIF8", "binary"),
    (b"\x7fELF", "binary"),
    (b"MZ\x90\x00", "binary"),
    (b"SQLite format 3\x00", "binary"),
    (codecs.BOM_UTF32_LE, "binary"),
    (codecs.BOM_UTF32_BE, "binary"),
)
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|table|\?xml|script|svg)", re.IGNORECASE)
_JSON = re.compile(rb"\s*[\[{]\s*[\"{\[]")
# Everything below a space but TAB, LF and CR, and DEL: never part of a text.
CONTROL_BYTES = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
BOM_BYTES: Final = {"utf-8": 3, "utf-16-le": 2, "utf-16-be": 2, "cp1252": 0}
# Excel's own first line, which names the delimiter.
SEP_LINE = re.compile(r"\"?sep=([,;\t|])\"?", re.IGNORECASE)


def sniff(head: bytes) -> Dialect:
    """Tell from a file's first bytes how it is written. For a whole file take `sniff_stream`.

    Raises BadFile when it is empty or no text in columns (archive, workbook, web page, binary).

    >>> sniff("usuário;seguidores\\nana;10\\n".encode("cp1252"))
    Dialect(encoding='cp1252', delimiter=';', has_bom=False, assumed=True, newline='\\n')
    """
    encoding, has_bom = _bom(head)
    _refuse_foreign(head, encoding)
    assumed = False
    if encoding == "utf-8" and not has_bom:
        tally = _Tally()
        tally.feed(head)
        assumed = tally.is_not_utf8()
        encoding = "cp1252" if assumed else "utf-8"
    return _dialect(head, encoding, has_bom=has_bom, assumed=assumed)


def sniff_stream(stream: BinaryIO) -> Dialect:
    """Like `sniff`, having looked at the whole file, since accents may come late in it.

    Reads in blocks; leaves the stream at its end. Raises BadFile, also when it is over 64 MB.
    """
    stream.seek(0)
    head = stream.read(_HEAD)
    encoding, has_bom = _bom(head)
    _refuse_foreign(head, encoding)
    tally = _Tally()
    size, block = 0, head
    while block:
        size += len(block)
        if size > MAX_BYTES:
            raise BadFile("file_too_large", limit=MAX_BYTES // 1024**2)
        if encoding == "utf-8" and not has_bom:
            tally.feed(block)
        block = stream.read(BLOCK)
    assumed = tally.is_not_utf8()
    if assumed:
        encoding = "cp1252"
    return _dialect(head, encoding, has_bom=has_bom, assumed=assumed)


def dialect_as(stream: BinaryIO, *, encoding: str, delimiter: str) -> Dialect:
    """The dialect that a person says a file has; only its mark and line breaks are looked up."""
    stream.seek(0)
    head = stream.read(_HEAD)
    marked, has_bom = _bom(head)
    found = _dialect(head, encoding, has_bom=has_bom and marked == encoding, assumed=False)
    return replace(found, delimiter=_as_delimiter(delimiter))


class _Tally:
    """Counts lines that are UTF-8 with accents against lines that are not UTF-8.

    A file in UTF-8 with a few damaged rows stays UTF-8 (those rows are rejected); only a file
    whose accents mostly are not UTF-8 is taken for cp1252.
    """

    def __init__(self) -> None:
        self.accented = self.broken = 0
        self._rest = b""

    def feed(self, block: bytes) -> None:
        """Look at the next bytes; a line may be cut anywhere between two calls."""
        # A file without line breaks must not pile up; where it is cut then hardly matters.
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > BLOCK:
            self._count(self._rest, cut=True)
            self._rest = b""
        if b"".join(lines).isascii():
            return
        for line in lines:
            self._count(line)

    def _count(self, line: bytes, *, cut: bool = False) -> None:
        if not line.isascii():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                # Cut off at the very end is no damage: the rest was not given to us.
                if not cut or error.end < len(line) or error.reason != "unexpected end of data":
                    self.broken += 1
            else:
                self.accented += 1

    def is_not_utf8(self) -> bool:
        """Whether the lines seen so far are more likely cp1252."""
        self._count(self._rest, cut=True)
        self._rest = b""
        return self.broken > self.accented


def _bom(head: bytes) -> tuple[str, bool]:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(mark):
            return encoding, True
    return "utf-8", False


def _refuse_foreign(head: bytes, encoding: str) -> None:
    if not head.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise BadFile("empty_file")
    for signature, code in _FOREIGN:
        if head.startswith(signature):
            raise BadFile(code)
    text = head.removeprefix(codecs.BOM_UTF8)
    if encoding.startswith("utf-16"):
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head[2:]).encode()
    if _MARKUP.match(text):
        raise BadFile("web_page")
    if _JSON.match(text):
        raise BadFile("json_file")
    # One stray NUL spoils its row; many control characters are no text.
    controls = len(text) - len(text.translate(None, CONTROL_BYTES))
    if controls > 8 and controls * 50 > len(text):
        raise BadFile("binary")


def _dialect(head: bytes, encoding: str, *, has_bom: bool, assumed: bool) -> Dialect:
    text = head[: BOM_BYTES[encoding] if has_bom else 0]
    text = head[len(text) :]
    decoded = codecs.getincrementaldecoder(encoding)(errors="replace").decode(text)
    newline: Literal["\n", "\r"] = "\r" if "\r" in decoded and "\n" not in decoded else "\n"
    lines = [line for line in decoded.split(newline) if line.strip()]
    first = lines[0].rstrip("\r") if lines else ""
    if declared := SEP_LINE.fullmatch(first):
        return Dialect(encoding, _as_delimiter(declared[1]), has_bom, assumed, newline)

    # A header is most likely cut by the character that gives the most names we know, and then
    # the most cells; a quoted name may hold the others.
    def weight(delimiter: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:
            cells = first.split(delimiter)
        return sum(1 for cell in cells if target_of(cell)), len(cells)

    best = max(DELIMITERS, key=weight)
    return Dialect(encoding, best, has_bom, assumed, newline)


def _as_delimiter(text: str) -> Delimiter:
    return next(delimiter for delimiter in DELIMITERS if delimiter == text)
