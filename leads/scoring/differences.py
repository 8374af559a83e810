"""What is different between two configurations, in words for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy

from leads.scoring.config import IcpConfig
from leads.scoring.texts import CRITERION_LABELS, GROUP_LABELS

# How many keywords a sentence names; of more it says how many.
NAMED: Final = 12

LABELS: Final[dict[str, Promise]] = {
    "thresholds.hot": gettext_lazy("Hot from"),
    "thresholds.warm": gettext_lazy("Warm from"),
    "thresholds.cold": gettext_lazy("Cold from"),
    "followers.min": gettext_lazy("Followers accepted from"),
    "followers.max": gettext_lazy("Followers accepted up to"),
    "followers.ideal_min": gettext_lazy("Followers ideal from"),
    "followers.ideal_max": gettext_lazy("Followers ideal up to"),
    "engagement.min": gettext_lazy("Least engagement rate, %"),
    "engagement.ideal": gettext_lazy("Ideal engagement rate, %"),
    "gates.skip_private": gettext_lazy("Leave out private profiles"),
    "gates.require_bio": gettext_lazy("Leave out profiles without a bio"),
    "gates.require_business": gettext_lazy("Leave out profiles without a business"),
}


class Difference(NamedTuple):
    """Something that differs: what, before and after; for lists what was added and taken away."""

    what: str
    before: str
    after: str


def differences(old: IcpConfig, new: IcpConfig) -> list[Difference]:
    """What `new` has different from `old`, in the order of the editor.

    >>> [tuple(one) for one in differences(IcpConfig(), IcpConfig.from_json({"off": ["title"]}))]
    [('Professional title in the name', 'on', 'off')]
    """
    return [*_weights(old, new), *_switches(old, new), *_words(old, new), *_values(old, new)]


def _weights(old: IcpConfig, new: IcpConfig) -> Iterator[Difference]:
    for group, label in GROUP_LABELS.items():
        before, after = getattr(old.weights, group), getattr(new.weights, group)
        if before != after:
            what = _("Weight of %(group)s") % {"group": label}
            yield Difference(what, _said(before), _said(after))


def _switches(old: IcpConfig, new: IcpConfig) -> Iterator[Difference]:
    for criterion, label in CRITERION_LABELS.items():
        if (criterion in old.off) != (criterion in new.off):
            yield Difference(
                str(label), _switch(criterion in old.off), _switch(criterion in new.off)
            )


def _words(old: IcpConfig, new: IcpConfig) -> Iterator[Difference]:
    lists: dict[str, tuple[Iterable[str], Iterable[str]]] = {
        str(CRITERION_LABELS["decision_maker"]): (
            old.decision_maker_keywords, new.decision_maker_keywords
        ),
        str(CRITERION_LABELS["business_word"]): (old.business_words, new.business_words),
        str(CRITERION_LABELS["location"]): (_places(old), _places(new)),
        str(CRITERION_LABELS["interest"]): (_interests(old), _interests(new)),
        _("Blocked handles"): (old.blocklist.handles, new.blocklist.handles),
        _("Blocked words"): (old.blocklist.words, new.blocklist.words),
    }  # fmt: skip
    for what, (before, after) in lists.items():
        # Sets would forget the order, and the order is how people remember their lists.
        had, has = dict.fromkeys(before), dict.fromkeys(after)
        gone = [word for word in had if word not in has]
        added = [word for word in has if word not in had]
        if gone or added:
            yield Difference(
                what,
                _("without: %(words)s") % {"words": _named(gone)} if gone else "",
                _("new: %(words)s") % {"words": _named(added)} if added else "",
            )


def _values(old: IcpConfig, new: IcpConfig) -> Iterator[Difference]:
    before, after = old.to_json(), new.to_json()
    for path, label in LABELS.items():
        part, name = path.split(".")
        if before[part][name] != after[part][name]:
            yield Difference(str(label), _said(before[part][name]), _said(after[part][name]))


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return number_format(value, use_l10n=True, force_grouping=True)


def _switch(off: bool) -> str:
    return _("off") if off else _("on")


def _places(config: IcpConfig) -> list[str]:
    return [word if word == shown else f"{word} = {shown}" for word, shown in config.locations]


def _interests(config: IcpConfig) -> list[str]:
    return [f"{word} ({group})" for group, words in config.interests for word in words]


def _named(words: list[str]) -> str:
    shown = ", ".join(words[:NAMED])
    if len(words) <= NAMED:
        return shown
    return _("%(words)s and %(n)d more") % {"words": shown, "n": len(words) - NAMED}
