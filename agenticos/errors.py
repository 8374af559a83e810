"""The one exception that is for people."""

from __future__ import annotations


class Refused(Exception):
    """Something a person asked for is not possible now.

    The text is a full sentence that says why and what to do, already in the reader's language;
    `code` is its stable name for programs, in snake_case.
    """

    def __init__(self, sentence: str, *, code: str = "refused") -> None:
        super().__init__(sentence)
        self.code = code
