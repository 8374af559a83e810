"""Reading CSV files of leads: bytes in; clean values, or a rejection with line and reason, out.

Pure and streaming: a file is read in blocks, so memory does not grow with its length, and reading
can stop after any record and go on later from a `Checkpoint`. Works on any seekable binary stream.

    dialect = sniff_stream(stream)
    headers = read_header(stream, dialect)
    reader = rows(stream, dialect, guess_mapping(headers))
    for outcome in islice(reader, 1_000): ...
    saved = reader.checkpoint            # later: rows(stream, dialect, mapping, saved)

**Broken quotes.** A quote that is opened and never closed would swallow all rows after it. When a
record that runs over several lines turns out to be broken (the file ends inside the quote, text
follows a closing quote, a cell grows past its limit, too many cells come out, or it comes out short
and one of its inner lines holds a whole row of delimiters), only its *first* line is rejected and
reading goes on at the line after it. The lines that the broken record had covered may be torn
pieces of text as well as rows, and a word out of a bio must not become a lead: among them a row
needs its full number of cells, otherwise it is rejected too. Nothing is dropped unreported.
"""

from leads.importing.dialect import DELIMITERS, ENCODINGS, Dialect, dialect_as, sniff, sniff_stream
from leads.importing.limits import FIELDS, MAX_BYTES, MAX_CELL, TARGETS, TEXT_LIMITS, Value
from leads.importing.mapping import guess_mapping
from leads.importing.preview import Peek, peek
from leads.importing.reader import Reader, Rejected, Row, rows
from leads.importing.records import Checkpoint, read_header
from leads.importing.rejects import harmless, reject_lines
from leads.importing.sentences import SENTENCES, BadFile, sentence_for
from leads.importing.values import read_object

__all__ = [
    "DELIMITERS", "ENCODINGS", "FIELDS", "MAX_BYTES", "MAX_CELL", "SENTENCES", "TARGETS",
    "TEXT_LIMITS", "BadFile", "Checkpoint", "Dialect", "Peek", "Reader", "Rejected", "Row",
    "Value", "dialect_as", "guess_mapping", "harmless", "peek", "read_header", "read_object",
    "reject_lines", "rows", "sentence_for", "sniff", "sniff_stream",
]  # fmt: skip
