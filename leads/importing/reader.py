"""From records to rows: every record is a `Row` of clean values, or `Rejected` with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

from leads.identities import normalise_handle
from leads.importing.cells import DoubtError, RefusedError, cleaners, is_nothing, unguard
from leads.importing.dialect import Dialect
from leads.importing.limits import MAX_BYTES, MAX_CELL, MAX_ROWS, TARGETS, Value
from leads.importing.records import Checkpoint, Records, header_of
from leads.importing.sentences import BadFile


class Row(NamedTuple):
    """A record that can be imported.

    `values` holds only the fields that have a value, so that nothing stored is erased by an empty
    cell: text, int for counts, Decimal percent for engagement, bool for flags, E.164 for phones.
    `warnings` are codes of what was left out. `line` is the physical line on which it begins.
    """

    line: int
    values: dict[str, Value]
    warnings: tuple[str, ...]
    raw: list[str]


class Rejected(NamedTuple):
    """A record that cannot be imported, and why: `sentence_for(code, params)`."""

    line: int
    code: str
    params: dict[str, str | int]
    raw: list[str]


def rows(
    stream: BinaryIO,
    dialect: Dialect,
    mapping: Mapping[int, str],
    start: Checkpoint | None = None,
    *,
    region: str = "BR",
) -> Reader:
    """Read the records after `start` (the first ones after the header when it is None).

    `mapping` goes from column number (0 is the first) to `TARGETS`; `region` is where phone
    numbers without country code are. Raises BadFile for a file or mapping that cannot be used,
    and on the way when there are over 1 000 000 rows.
    """
    return Reader(stream, dialect, mapping, start, region=region)


class Reader:
    """An iterator of `Row` and `Rejected` that knows where it is."""

    def __init__(
        self,
        stream: BinaryIO,
        dialect: Dialect,
        mapping: Mapping[int, str],
        start: Checkpoint | None = None,
        *,
        region: str = "BR",
    ) -> None:
        if stream.seek(0, 2) > MAX_BYTES:
            raise BadFile("file_too_large", limit=MAX_BYTES // 1024**2)
        records = Records(stream, dialect)
        self.headers = header_of(records)
        if start is not None and start.offset > records.offset:
            records = Records(stream, dialect, start)
        self._records = records
        self._count = start.records if start is not None else 0
        records.columns = self._columns = len(self.headers)
        self._plan = _Plan(mapping, self._columns, region)
        self._next = iter(records)

    def __iter__(self) -> Iterator[Row | Rejected]:
        return self

    def __next__(self) -> Row | Rejected:
        # No generator: that and the reader would refer to each other, and a block of lines and a
        # chunk of rows would stay until the collector comes.
        line, cells, trouble, raw = next(self._next)
        if self._count >= MAX_ROWS:
            raise BadFile("too_many_rows", limit=MAX_ROWS)
        self._count += 1
        if trouble or cells is None:
            return Rejected(line, trouble, _params_of(trouble), raw)
        columns = self._columns
        if len(cells) > columns:
            params: dict[str, str | int] = {"cells": len(cells), "columns": columns}
            return Rejected(line, "too_many_cells", params, raw)
        if len(cells) < columns:
            cells = cells + [""] * (columns - len(cells))
        return self._plan.clean(line, cells, raw)

    @property
    def checkpoint(self) -> Checkpoint:
        """The place after the outcome given last; reading on from it gives the next one."""
        records = self._records
        return Checkpoint(records.offset, records.line, self._count, records.suspect_until)


def _params_of(trouble: str) -> dict[str, str | int]:
    return {"limit": MAX_CELL // 1024} if trouble == "cell_too_long" else {}


class _Plan:
    """Which cell is cleaned how, worked out once per file."""

    def __init__(self, mapping: Mapping[int, str], columns: int, region: str) -> None:
        fields: dict[str, int] = {}
        for index, target in mapping.items():
            if target not in TARGETS or not 0 <= index < columns or target in fields:
                raise BadFile("bad_mapping", column=index + 1, target=target[:40])
            fields[target] = index
        self._handle = fields.pop("handle", None)
        self._url = fields.pop("profile_url", None)
        self._by_handle = self._handle is not None or self._url is not None
        if not self._by_handle and "ghl_id" not in fields:
            raise BadFile("no_identity")
        clean = cleaners(region)
        self._cells = [(index, name, clean[name]) for name, index in fields.items()]

    def clean(self, line: int, cells: list[str], raw: list[str]) -> Row | Rejected:
        """Turn the cells of a record into values, or say why not."""
        values: dict[str, Value] = {}
        warnings: tuple[str, ...] = ()
        if self._by_handle:
            handle, code = self._find_handle(cells)
            if not handle:
                text = cells[self._handle if self._handle is not None else self._url or 0]
                return Rejected(line, code, {"value": text.strip()[:60]} if text else {}, raw)
            values["handle"] = handle
            if code:
                warnings = (code,)
        for index, name, clean in self._cells:
            cell = cells[index]
            if not cell:
                continue
            try:
                value = clean(cell)
            except DoubtError as doubt:
                value = doubt.value
                warnings = (*warnings, doubt.code)
            except RefusedError as refused:
                params: dict[str, str | int] = {"field": name, "value": refused.text[:60]}
                return Rejected(line, refused.code, params, raw)
            if value is not None:
                values[name] = value
        if not self._by_handle and "ghl_id" not in values:
            return Rejected(line, "no_identity", {}, raw)
        return Row(line, values, warnings, raw)

    def _find_handle(self, cells: list[str]) -> tuple[str | None, str]:
        """The handle and a warning, or None and the code of the rejection."""
        text = cells[self._handle] if self._handle is not None else ""
        given = text and not is_nothing(unguard(text))
        if given and (handle := normalise_handle(unguard(text))):
            return handle, ""
        if self._url is not None:
            url = unguard(cells[self._url])
            if not is_nothing(url):
                if handle := normalise_handle(url):
                    return handle, "handle_from_url" if given else ""
                given = True
        return None, "bad_handle" if given else "no_handle"
