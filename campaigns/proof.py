"""The ledger of a campaign as CSV: proof of what was sent, to whom and when."""

from __future__ import annotations

import csv
import io
from typing import IO, Final

from campaigns.models import Campaign
from campaigns.status import iso

HEADER: Final = (
    "handle", "name", "state", "reason", "reason_text", "account", "step", "attempts",
    "dispatched_at", "sent_at", "provider_id", "key", "text",
)  # fmt: skip
# What a spreadsheet would take for a formula or for a cell of its own.
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_CHUNK: Final = 2_000


def write(campaign: Campaign, file: IO[bytes], *, texts: bool) -> int:
    """Write one line per row of the ledger, best first, UTF-8; return how many.

    Every cell is quoted, and one that a spreadsheet would calculate begins with an apostrophe.
    Without `texts` the column of texts is left out.
    """
    out = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    width = len(HEADER) if texts else len(HEADER) - 1
    writer.writerow(HEADER[:width])
    rows = campaign.messages.select_related("lead", "account").order_by("position", "pk")
    count = 0
    for row in rows.iterator(chunk_size=_CHUNK):
        cells = (
            row.lead.handle, row.lead.name, row.state, row.reason, row.why,
            row.account.handle if row.account else "", row.step_number, row.attempts,
            iso(row.dispatched_at), iso(row.sent_at), row.provider_id, row.key, row.text,
        )  # fmt: skip
        writer.writerow([_cell(cell) for cell in cells[:width]])
        count += 1
    out.flush()
    out.detach()
    return count


def _cell(value: object) -> str:
    """A cell that no spreadsheet calculates.

    >>> _cell("=1+1"), _cell(None), _cell(3)
    ("'=1+1", '', '3')
    """
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_DANGEROUS) else text
