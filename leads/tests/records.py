"""Files of leads as tests read them."""

from __future__ import annotations

import io
from typing import Any

from leads.importing import (
    Rejected,
    Row,
    guess_mapping,
    read_header,
    rows,
    sniff_stream,
)


def outcomes(data: bytes | str, **options: Any) -> list[Row | Rejected]:
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    dialect = sniff_stream(stream)
    return list(rows(stream, dialect, guess_mapping(read_header(stream, dialect)), **options))


def fates(data: bytes | str) -> list[tuple[int, str]]:
    """Per record its line, and its handle or the code it was rejected with (in capitals)."""
    return [
        (one.line, one.code.upper() if isinstance(one, Rejected) else str(one.values["handle"]))
        for one in outcomes(data)
    ]
