"""The editor's form: every part of an ICP configuration as a field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext as _, gettext_lazy

from leads.scoring import CRITERION_LABELS, GROUP_LABELS, GROUPS, BadConfig, IcpConfig
from leads.scoring.config import HANDLES_MAX, KEYWORDS_MAX
from leads.scoring.values import CRITERIA

NUMBER = {"min": "0", "inputmode": "decimal"}
AREA = {"spellcheck": "false", "autocapitalize": "off"}
# A part of the configuration -> the field that shows what is wrong with it.
FIELD_OF: Final = {
    "weights": "weight_bio", "thresholds": "hot", "followers": "followers_min",
    "engagement": "engagement_min", "off": "weight_bio", "decision_maker_keywords":
    "decision_maker_keywords", "business_words": "business_words", "locations": "locations",
    "interests": "interests",
}  # fmt: skip
WRONG: Final[dict[str, Promise]] = {
    "weights": gettext_lazy("At least one group needs a weight above 0."),
    "off": gettext_lazy("At least one criterion of a group with a weight must be on."),
    "thresholds": gettext_lazy("Hot must not be below warm, nor warm below cold."),
    "followers": gettext_lazy("The ideal numbers must lie between the accepted ones."),
    "engagement": gettext_lazy("The least rate must not be above the ideal one."),
}


class WordsField(forms.CharField):
    """Keywords, with commas or line breaks between them; cleans to a list."""

    def __init__(self, **kwargs: Any) -> None:
        rows = kwargs.pop("rows", 3)
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": rows, **AREA}))
        super().__init__(required=False, **kwargs)

    def clean(self, value: Any) -> list[str]:
        words = words_in(super().clean(value))
        check_words(words)
        return words


class LocationsField(WordsField):
    """A keyword a line, or `keyword = name to show`; cleans to a mapping."""

    def clean(self, value: Any) -> dict[str, str]:  # type: ignore[override]  # narrower than Field's
        found: dict[str, str] = {}
        for line in forms.CharField(required=False).clean(value).splitlines():
            keyword, _mark, shown = (part.strip() for part in line.partition("="))
            if keyword:
                check_words([keyword])
                if len(shown) > 60:
                    raise forms.ValidationError(_("A name to show has at most 60 characters."))
                found[keyword] = shown or keyword
        _check_number(len(found), KEYWORDS_MAX)
        return found


class InterestsField(WordsField):
    """`group: word, word` a line; cleans to a mapping."""

    def clean(self, value: Any) -> dict[str, list[str]]:  # type: ignore[override]  # narrower than Field's
        found: dict[str, list[str]] = {}
        for line in forms.CharField(required=False).clean(value).splitlines():
            if not line.strip():
                continue
            group, mark, words = line.rpartition(":")
            group = group.strip()
            if not mark or not group or len(group) > 60:
                raise forms.ValidationError(
                    _("Write a group, a colon, then its words: “%(line)s” is not so.")
                    % {"line": line.strip()}
                )
            some = words_in(words)
            check_words(some)
            found[group] = [*found.get(group, []), *some]
        _check_number(len(found), KEYWORDS_MAX)
        return found


class HandlesField(WordsField):
    """Instagram handles; cleans to a list."""

    def clean(self, value: Any) -> list[str]:
        handles = words_in(forms.CharField(required=False).clean(value))
        _check_number(len(handles), HANDLES_MAX)
        _check(
            {"blocklist": {"handles": handles}},
            lambda at: _("“%(handle)s” is not an Instagram handle.") % {"handle": handles[at]},
        )
        return handles


class IcpForm(forms.Form):
    """All of a configuration. Valid, it holds the `IcpConfig` in `config`."""

    cold = forms.IntegerField(min_value=0, max_value=100, label=gettext_lazy("Cold from"))
    warm = forms.IntegerField(min_value=0, max_value=100, label=gettext_lazy("Warm from"))
    hot = forms.IntegerField(min_value=0, max_value=100, label=gettext_lazy("Hot from"))
    decision_maker_keywords = WordsField(label=gettext_lazy("Words"), rows=5)
    business_words = WordsField(label=gettext_lazy("Words"))
    locations = LocationsField(
        label=gettext_lazy("Places"),
        rows=5,
        help_text=gettext_lazy("One a line. “rj = Rio de Janeiro” shows the name."),
    )
    interests = InterestsField(
        label=gettext_lazy("Groups and words"),
        rows=7,
        help_text=gettext_lazy("One group a line: “health: fitness, nutrition”."),
    )
    followers_min = forms.IntegerField(min_value=0, label=gettext_lazy("Accepted from"))
    followers_ideal_min = forms.IntegerField(min_value=0, label=gettext_lazy("Ideal from"))
    followers_ideal_max = forms.IntegerField(min_value=0, label=gettext_lazy("Ideal up to"))
    followers_max = forms.IntegerField(
        min_value=0, max_value=2 * 10**9, label=gettext_lazy("Accepted up to")
    )
    engagement_min = forms.FloatField(
        min_value=0, max_value=1_000, label=gettext_lazy("Least rate, %")
    )
    engagement_ideal = forms.FloatField(
        min_value=0, max_value=1_000, label=gettext_lazy("Ideal rate, %")
    )
    skip_private = forms.BooleanField(
        required=False, label=gettext_lazy("Leave out private profiles")
    )
    require_bio = forms.BooleanField(
        required=False, label=gettext_lazy("Leave out profiles without a bio")
    )
    require_business = forms.BooleanField(
        required=False,
        label=gettext_lazy("Leave out who is neither a business account nor has a category"),
    )
    blocked_handles = HandlesField(label=gettext_lazy("Handles never to write to"))
    blocked_words = WordsField(label=gettext_lazy("Words in a profile that rule it out"))

    def __init__(self, data: Any = None, *, config: IcpConfig | None = None) -> None:
        super().__init__(data, initial=initial_of(config) if config else None)
        self.config: IcpConfig | None = None
        for group in GROUPS:
            self.fields[f"weight_{group}"] = forms.FloatField(
                min_value=0,
                max_value=10**6,
                label=format_lazy(gettext_lazy("Weight of {group}"), group=GROUP_LABELS[group]),
            )
        for _group, criterion, _maximum in CRITERIA:
            self.fields[f"on_{criterion}"] = forms.BooleanField(
                required=False, label=str(CRITERION_LABELS[criterion])
            )
        for name, field in self.fields.items():
            if not isinstance(field, forms.BooleanField):
                field.widget.attrs["aria-describedby"] = f"error-{name}"
            if isinstance(field, forms.FloatField):
                field.widget.attrs["step"] = "any"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        try:
            self.config = IcpConfig.from_json(_config_json(data))
        except BadConfig as error:
            part = error.path.partition(".")[0].partition("[")[0]
            self.add_error(FIELD_OF.get(part), str(WRONG.get(part) or error))
        return data


def initial_of(config: IcpConfig) -> dict[str, Any]:
    """The form's values for a configuration."""
    places = [
        _line(word) if shown == word else f"{_line(word)} = {' '.join(shown.split())}"
        for word, shown in config.locations
    ]
    return {
        **{f"weight_{group}": getattr(config.weights, group) for group in GROUPS},
        **{f"on_{one}": one not in config.off for _group, one, _maximum in CRITERIA},
        "hot": config.thresholds.hot,
        "warm": config.thresholds.warm,
        "cold": config.thresholds.cold,
        "decision_maker_keywords": _joined(config.decision_maker_keywords),
        "business_words": _joined(config.business_words),
        "locations": "\n".join(places),
        "interests": "\n".join(
            f"{' '.join(group.split())}: {_joined(words)}" for group, words in config.interests
        ),
        "followers_min": config.followers.min,
        "followers_ideal_min": config.followers.ideal_min,
        "followers_ideal_max": config.followers.ideal_max,
        "followers_max": config.followers.max,
        "engagement_min": config.engagement.min,
        "engagement_ideal": config.engagement.ideal,
        "skip_private": config.gates.skip_private,
        "require_bio": config.gates.require_bio,
        "require_business": config.gates.require_business,
        "blocked_handles": "\n".join(config.blocklist.handles),
        "blocked_words": _joined(config.blocklist.words),
    }


def words_in(text: str) -> list[str]:
    """The keywords of a text.

    >>> words_in("ceo, São Paulo\\n head,")
    ['ceo', 'São Paulo', 'head']
    """
    parts = (part.strip() for line in text.splitlines() for part in line.split(","))
    return list(dict.fromkeys(filter(None, parts)))


def check_words(words: list[str]) -> None:
    """Raises ValidationError at the first that is no keyword, or when there are too many."""
    _check_number(len(words), KEYWORDS_MAX)
    _check(
        {"business_words": words},
        lambda at: (
            _(
                "“%(word)s” is no keyword. It takes a letter or digit, at most 60 characters, and a"
                " * only at the end."
            )
            % {"word": words[at]}
        ),
    )


def _check(part: dict[str, Any], sentence: Callable[[int], str]) -> None:
    try:
        IcpConfig.from_json(part)
    except BadConfig as error:
        at = error.path.partition("[")[2].rstrip("]")
        raise forms.ValidationError(sentence(int(at)) if at else str(error)) from error


def _check_number(number: int, most: int) -> None:
    if number > most:
        raise forms.ValidationError(_("At most %(most)d entries are possible.") % {"most": most})


def _line(keyword: str) -> str:
    # Marks between words do not count when they are looked for, and here they would divide.
    return " ".join(keyword.replace(",", " ").replace("=", " ").replace(":", " ").split())


def _joined(words: tuple[str, ...]) -> str:
    return ", ".join(map(_line, words))


def _config_json(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "weights": {group: _plain(data[f"weight_{group}"]) for group in GROUPS},
        "thresholds": {name: data[name] for name in ("hot", "warm", "cold")},
        "decision_maker_keywords": data["decision_maker_keywords"],
        "business_words": data["business_words"],
        "locations": data["locations"],
        "interests": data["interests"],
        "followers": {
            name: data[f"followers_{name}"] for name in ("min", "max", "ideal_min", "ideal_max")
        },
        "engagement": {name: _plain(data[f"engagement_{name}"]) for name in ("min", "ideal")},
        "gates": {name: data[name] for name in ("skip_private", "require_bio", "require_business")},
        "blocklist": {"handles": data["blocked_handles"], "words": data["blocked_words"]},
        "off": [one for _group, one, _maximum in CRITERIA if not data[f"on_{one}"]],
    }


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number
