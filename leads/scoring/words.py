"""The words of a text, as keywords are matched: runs of letters and digits, folded."""

from __future__ import annotations

import re
from typing import Final

from leads.identities import fold

_WORD: Final = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The folded words of a text, in order.

    >>> words_of("Dra. Médica · bem-estar")
    ['dra', 'medica', 'bem', 'estar']
    """
    return _WORD.findall(fold(text))
