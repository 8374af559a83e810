"""What changed between two texts, word by word. Pure."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

_WORD = re.compile(r"\s+|[^\s]+")


class Piece(NamedTuple):
    """A run of words: `kind` is `same`, `gone` (of the old text) or `new`."""

    kind: str
    text: str


def differences(old: str, new: str) -> list[Piece]:
    """The two texts as one row of pieces; without `new` it is the old text, and so around.

    >>> [tuple(piece) for piece in differences("Oi Ana!", "Oi Bia!")]
    [('same', 'Oi '), ('gone', 'Ana!'), ('new', 'Bia!')]
    """
    before, after = _WORD.findall(old), _WORD.findall(new)
    pieces: list[Piece] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(before[old_from:old_to])))
            continue
        if old_to > old_from:
            pieces.append(Piece("gone", "".join(before[old_from:old_to])))
        if new_to > new_from:
            pieces.append(Piece("new", "".join(after[new_from:new_to])))
    return pieces
