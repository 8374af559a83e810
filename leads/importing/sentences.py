"""What people read about a file, a row and a cell, by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

SENTENCES: Final[dict[str, Promise]] = {
    # The file.
    "empty_file": _("The file is empty."),
    "file_too_large": _("The file is larger than {limit} MB. Split it and import the parts."),
    "spreadsheet_or_zip": _(
        "This is a spreadsheet or an archive, not a CSV file. Save it as CSV (UTF-8) first."
    ),
    "web_page": _("This is a web page, not a CSV file. Export the list as CSV again."),
    "json_file": _("This is a JSON file, not a CSV file. Export the list as CSV."),
    "binary": _("This is not a text file. Export the list as CSV."),
    "too_many_columns": _("The file has {columns} columns; at most {limit} can be imported."),
    "too_many_rows": _(
        "The file has more than {limit} rows. The first {limit} were read; put the rest in "
        "another file."
    ),
    "line_too_long": _("Line {line} never seems to end. Export the list as CSV again."),
    "bad_header": _("The first line, which names the columns, cannot be read."),
    "empty_header": _("Column {column} has no name. Give every column a name in the first line."),
    "duplicate_header": _("Two columns are called “{header}”. Give every column its own name."),
    "bad_mapping": _("Column {column} cannot be imported as “{target}”."),
    "no_identity": _(
        "There is no column with Instagram handles, profile addresses or GoHighLevel ids, so "
        "nobody can be told apart."
    ),
    # A row.
    "no_handle": _("There is no Instagram handle in this row."),
    "bad_handle": _(
        "“{value}” is not an Instagram handle: 1 to 30 letters, digits, dots and underscores."
    ),
    "negative_number": _("“{value}” in {field} is negative; counts start at 0."),
    "not_a_number": _("“{value}” in {field} is not a number."),
    "number_too_large": _("“{value}” in {field} is too large to be true."),
    "too_many_cells": _(
        "The row has {cells} cells, but there are {columns} columns. Put text that contains the "
        "separator in quotes."
    ),
    "cell_too_long": _("A cell is longer than {limit} KB."),
    "nul_byte": _("The row contains a NUL character, which no text has."),
    "control_character": _("The row contains a control character, which no text has."),
    "not_text": _("The row contains bytes that are not text in the file's encoding."),
    "broken_quote": _(
        "A quote in this row, or in one shortly before it, is opened and not closed."
    ),
    "plan_limit_leads": _(
        "The plan of this workspace allows {limit} leads, and there is no room for a new one. Ask "
        "for a larger plan."
    ),
    # A row that a program sends.
    "not_an_object": _("The row is not an object with the fields of a lead."),
    "unknown_field": _("A lead has no field “{field}”."),
    "bad_value": _("“{field}” takes a text, a number, true, false or null."),
    # Warnings: the row was imported.
    "handle_from_url": _("The handle was not usable and was taken from the profile address."),
    "bad_email": _("The mail address is not valid and was left out."),
    "bad_phone": _("The phone number is not valid and was left out."),
    "bad_website": _("The website is not an http address and was left out."),
    "bad_flag": _("A yes/no cell was neither and was left out."),
    "bad_ghl_id": _("The GoHighLevel id is not one and was left out."),
    "ghl_id_taken": _("The GoHighLevel id belongs to another lead already and was left out."),
    "text_cut": _("A text was too long and was cut."),
    # What stopped an import.
    "file_gone": _("The uploaded file is gone. Upload it again."),
    "unexpected": _(
        "Something unexpected stopped the import after line {line}. The rows before it are in; "
        "tell support, or split the file there."
    ),
    "unexpected_check": _(
        "Something unexpected stopped the check after line {line}. No lead was touched; tell "
        "support, or split the file there."
    ),
    "unexpected_undo": _(
        "Something unexpected stopped the undoing. What was undone stays undone; try again."
    ),
    "encoding_assumed": _(
        "The file is not UTF-8; it was read as Windows-1252. Check the accents of some names."
    ),
}

# Fields that hold numbers, as the sentences on numbers call them.
FIELD_LABELS: Final[dict[str, Promise]] = {
    "followers": _("followers"),
    "following": _("following"),
    "posts": _("posts"),
    "recent_posts": _("recent posts"),
    "engagement": _("engagement"),
}


def sentence_for(code: str, params: Mapping[str, str | int] | None = None) -> str:
    """The sentence of a rejection, warning or BadFile in the reader's language.

    Unknown codes (stored by another version) are shown as they are.
    """
    if code == "bad_handle" and not (params or {}).get("value"):
        code = "no_handle"
    sentence = SENTENCES.get(code)
    if sentence is None:
        return code
    words = _Blank(params or {})
    if label := FIELD_LABELS.get(str(words.get("field"))):
        words["field"] = str(label)
    return str(sentence).format_map(words)


class _Blank(dict[str, str | int]):
    """Params that an older version did not store leave a gap instead of an exception."""

    def __missing__(self, key: str) -> str:
        return "…"


class BadFile(ValueError):
    """A file that cannot be imported at all: `code` and `params` for `sentence_for`."""

    def __init__(self, code: str, **params: str | int) -> None:
        super().__init__(code)
        self.code = code
        self.params = params

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, in the reader's language."""
        return sentence_for(self.code, self.params)
