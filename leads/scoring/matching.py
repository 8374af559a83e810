"""Finding keywords: whole words of folded text, and beginnings of words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from leads.scoring.config import IcpConfig
from leads.scoring.words import words_of

# What a keyword stands for: a bit per criterion, so that one look at the text serves them all.
DECISION, BUSINESS, LOCATION, INTEREST, BLOCKED = range(5)


class _Phrase(NamedTuple):
    """A keyword cut into folded words; `prefix` says that the last one may go on."""

    words: tuple[str, ...]
    prefix: bool
    kind: int
    evidence: str

    def at(self, words: tuple[str, ...], index: int) -> bool:
        """Whether the phrase stands at `words[index]`."""
        end = index + len(self.words)
        if not self.prefix:
            return words[index:end] == self.words
        return (
            words[index : end - 1] == self.words[:-1]
            and end <= len(words)
            and words[end - 1].startswith(self.words[-1])
        )


class Finder:
    """Finds the keywords of a configuration in folded words."""

    def __init__(self, config: IcpConfig) -> None:
        # Two ways to find a phrase at a word: by the word itself, or (one-word prefixes only) by
        # the beginning of the word.
        self._by_word: dict[str, list[_Phrase]] = {}
        self._by_prefix: list[_Phrase] = []
        for phrase in _phrases(config):
            if phrase.prefix and len(phrase.words) == 1:
                self._by_prefix.append(phrase)
            else:
                self._by_word.setdefault(phrase.words[0], []).append(phrase)
        self._prefixes = tuple(phrase.words[0] for phrase in self._by_prefix)

    def find(self, words: tuple[str, ...]) -> list[str]:
        """Per kind, the evidence of the first phrase that stands in `words`, or ''."""
        found = ["", "", "", "", ""]
        by_word, prefixes = self._by_word, self._prefixes
        for index, word in enumerate(words):
            if word in by_word:
                for phrase in by_word[word]:
                    if not found[phrase.kind] and (
                        (len(phrase.words) == 1) or phrase.at(words, index)
                    ):
                        found[phrase.kind] = phrase.evidence
            if prefixes and word.startswith(prefixes):
                for phrase in self._by_prefix:
                    if not found[phrase.kind] and word.startswith(phrase.words[0]):
                        found[phrase.kind] = phrase.evidence
        return found


def _phrases(config: IcpConfig) -> Iterator[_Phrase]:
    for keyword in config.decision_maker_keywords:
        yield _phrase(keyword, DECISION, keyword)
    for keyword in config.business_words:
        yield _phrase(keyword, BUSINESS, keyword)
    for keyword, shown in config.locations:
        yield _phrase(keyword, LOCATION, shown)
    for group, keywords in config.interests:
        for keyword in keywords:
            yield _phrase(keyword, INTEREST, f"{keyword} ({group})")
    for keyword in config.blocklist.words:
        yield _phrase(keyword, BLOCKED, keyword)


def _phrase(keyword: str, kind: int, evidence: str) -> _Phrase:
    return _Phrase(words_of(keyword), keyword.rstrip().endswith("*"), kind, evidence)
