"""The words of a text, as keywords are matched: runs of letters and digits, folded."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from leads.identities import fold

_WORD: Final = re.compile(r"[^\W_]+")


# A lead's texts are read for its score and for its facts, one after the other.
@lru_cache(maxsize=64)
def words_of(text: str) -> tuple[str, ...]:
    """The folded words of a text, in order.

    >>> words_of("Dra. Médica · bem-estar")
    ('dra', 'medica', 'bem', 'estar')
    """
    return tuple(_WORD.findall(fold(text)))
