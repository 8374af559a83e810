"""What several pages of leads need."""

from __future__ import annotations

import re
from decimal import Decimal

from django.utils.formats import number_format

from leads import scoring

NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def evidence_of(line: scoring.Line) -> str:
    """What was seen, a number as the reader's language writes it."""
    text = str(scoring.evidence_text(line))
    if not NUMBER.fullmatch(text):
        return text
    return number_format(Decimal(text), use_l10n=True, force_grouping=True)
