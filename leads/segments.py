"""Typed conditions on leads, as they stand in an address: `field operator value`.

A condition is read strictly and becomes a Q; what cannot be read is left out with a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.functions import StrIndex, Upper
from django.db.models.lookups import GreaterThan
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy, pgettext_lazy

from leads.identities import fold
from leads.models import LeadFacts, LeadTag
from leads.scoring.words import words_of

RULES_MAX: Final = 10
VALUE_MAX: Final = 200
DAYS_MAX: Final = 3650
COUNT_MAX: Final = 2**63 - 1

OPERATORS: Final[dict[str, Promise]] = {
    "is": gettext_lazy("is"),
    "is_not": gettext_lazy("is not"),
    "contains": gettext_lazy("contains"),
    "between": gettext_lazy("is between"),
    "within": gettext_lazy("is within the last … days"),
    "empty": gettext_lazy("is empty"),
    "not_empty": gettext_lazy("is not empty"),
}
# What each kind of field may be asked. `empty` is "unknown" for numbers and yes/no.
OF_KIND: Final[dict[str, tuple[str, ...]]] = {
    "text": ("is", "is_not", "contains", "empty", "not_empty"),
    "number": ("is", "is_not", "between", "empty", "not_empty"),
    "flag": ("is", "empty", "not_empty"),
    "date": ("between", "within", "empty", "not_empty"),
    "tag": ("is", "is_not", "empty", "not_empty"),
}
# Where leads come from, as far as we name it ourselves.
SOURCES: Final[dict[str, Promise]] = {
    "import": pgettext_lazy("where a lead came from", "Import"),
    "api": pgettext_lazy("where a lead came from", "API"),
    "manual": pgettext_lazy("where a lead came from", "By hand"),
    "campaign": pgettext_lazy("where a lead came from", "Handles of a campaign"),
}
WITHOUT_VALUE: Final = ("empty", "not_empty")


@dataclass(frozen=True, slots=True)
class Field:
    """A column that can be asked: its kind says how, `path` where the ORM finds it."""

    label: Promise
    kind: str
    path: str


FIELDS: Final[dict[str, Field]] = {
    "score": Field(gettext_lazy("Score"), "number", "total"),
    "handle": Field(gettext_lazy("Handle"), "text", "handle"),
    "name": Field(gettext_lazy("Name"), "text", "name"),
    "bio": Field(gettext_lazy("Bio"), "text", "bio"),
    "followers": Field(gettext_lazy("Followers"), "number", "followers"),
    "following": Field(gettext_lazy("Following"), "number", "following"),
    "posts": Field(gettext_lazy("Posts"), "number", "posts"),
    "recent_posts": Field(gettext_lazy("Recent posts"), "number", "recent_posts"),
    "engagement": Field(gettext_lazy("Engagement, %"), "number", "engagement"),
    "private": Field(gettext_lazy("Private profile"), "flag", "is_private"),
    "business": Field(gettext_lazy("Business account"), "flag", "is_business"),
    "verified": Field(gettext_lazy("Verified"), "flag", "is_verified"),
    "category": Field(gettext_lazy("Category"), "text", "category"),
    "city": Field(gettext_lazy("City"), "text", "city"),
    "email": Field(gettext_lazy("E-mail"), "text", "email"),
    "phone": Field(gettext_lazy("Phone"), "text", "phone"),
    "website": Field(gettext_lazy("Website"), "text", "website"),
    "source": Field(gettext_lazy("Source"), "text", "source"),
    "tag": Field(gettext_lazy("Tag"), "tag", "tags"),
    "added": Field(gettext_lazy("Added"), "date", "created_at"),
    "updated": Field(gettext_lazy("Updated"), "date", "updated_at"),
    "first_message": Field(gettext_lazy("First message"), "date", "first_touch_at"),
    "stopped": Field(gettext_lazy("Do not contact since"), "date", "suppressed_at"),
}


def source_label(source: str) -> str:
    """A lead's source in words; a name that somebody else gave stays as it is."""
    return str(SOURCES.get(source, source))


class BadRule(ValueError):
    """A condition that says nothing we can ask; the text is a sentence for people."""


def holds(path: str, text: str, *, often: bool, as_is: bool = False) -> Q:
    """The text stands somewhere in a column; whatever its case, unless `as_is`.

    PostgreSQL takes a text that its statistics do not know for very rare, and then sorts all that
    it finds. Whoever knows that it is found `often` says so: the same condition as a comparison,
    which it takes for true of every third row, so that it walks along the order that is asked for.
    """
    if not often:
        return Q(**{f"{path}__{'contains' if as_is else 'icontains'}": text})
    place = StrIndex(path, Value(text)) if as_is else StrIndex(Upper(path), Upper(Value(text)))
    return Q(GreaterThan(place, 0))


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition. `upper` is the second value of "between"; either end may be left open."""

    field: str
    operator: str
    value: str = ""
    upper: str = ""

    @property
    def what(self) -> Field:
        return FIELDS[self.field]

    def pairs(self) -> list[tuple[str, str]]:
        """The condition as parameters of an address."""
        return [("f", self.field), ("o", self.operator), ("v", self.value), ("u", self.upper)]

    def condition(self, *, zone: ZoneInfo, now: datetime, often: bool = False) -> Q:
        """The condition for leads with their score. Raises BadRule when a value cannot be read.

        Days begin and end in `zone`; "the last n days" end `now`. `often`: see `holds`.
        """
        kind, path = self.what.kind, self.what.path
        if self.operator in WITHOUT_VALUE:
            empty = _emptiness(kind, path)
            return empty if self.operator == "empty" else ~empty
        if kind == "tag":
            tagged = Q(Exists(LeadTag.objects.filter(lead=OuterRef("pk"), name=self._text())))
            return tagged if self.operator == "is" else ~tagged
        if kind == "flag":
            return Q(**{path: self._flag()})
        if kind == "number":
            return self._number(path)
        if kind == "date":
            return self._date(path, zone, now)
        if self.operator == "contains":
            return self._contains(path, often)
        same = Q(**{f"{path}__iexact": self._text()})
        return same if self.operator == "is" else ~same

    def _contains(self, path: str, often: bool) -> Q:
        """The text stands somewhere in the column, whatever its case.

        In a bio also whatever its accents: its folded words are kept beside the lead, in a table
        that is read several times quicker. What is no word (an emoji, a “@”) is looked for in the
        bio itself.
        """
        text = self._text()
        folded = " ".join(words_of(text))
        if path != "bio" or folded != " ".join(fold(text).split()):
            return holds(path, text, often=often)
        facts = LeadFacts.objects.filter(holds("bio_words", folded, often=often, as_is=True))
        return Q(pk__in=facts.values("lead_id"))

    def _text(self) -> str:
        if not self.value:
            raise BadRule(_("it has no value"))
        return self.value

    def _flag(self) -> bool:
        if self.value not in ("yes", "no"):
            raise BadRule(_("its value is neither yes nor no"))
        return self.value == "yes"

    def _number(self, path: str) -> Q:
        if self.operator == "between":
            return _between(path, _number(self.value), _number(self.upper))
        number = _number(self.value)
        if number is None:
            raise BadRule(_("it has no value"))
        same = Q(**{path: number})
        return same if self.operator == "is" else ~same

    def _date(self, path: str, zone: ZoneInfo, now: datetime) -> Q:
        if self.operator == "within":
            return Q(**{f"{path}__gte": now - timedelta(days=self.days())})
        first, last = _day(self.value), _day(self.upper)
        starts = datetime.combine(first, time(), zone) if first else None
        # The last day counts whole.
        ends = datetime.combine(last + timedelta(days=1), time(), zone) if last else None
        if starts is None and ends is None:
            raise BadRule(_("it has no value"))
        found = Q(**{f"{path}__gte": starts}) if starts else Q()
        return found & Q(**{f"{path}__lt": ends}) if ends else found

    def days(self) -> int:
        """The n of "within the last n days". Raises BadRule."""
        if not (self.value.isascii() and self.value.isdigit() and len(self.value) < 5):
            raise BadRule(_("it needs a number of days"))
        days = int(self.value)
        if not 1 <= days <= DAYS_MAX:
            raise BadRule(_("it needs a number of days"))
        return days

    def sentence(self) -> str:
        """The condition in words, for the chip that takes it away."""
        names = {"field": self.what.label, "value": self._shown(self.value)}
        if self.operator == "between":
            names["upper"] = self._shown(self.upper)
            if not self.upper:
                return _("%(field)s: from %(value)s") % names
            if not self.value:
                return _("%(field)s: up to %(upper)s") % names
            return _("%(field)s: %(value)s to %(upper)s") % names
        if self.operator == "within":
            return _("%(field)s: within the last %(value)s days") % names
        words = {"field": self.what.label, "operator": OPERATORS[self.operator]}
        if self.operator in WITHOUT_VALUE:
            return _("%(field)s %(operator)s") % words
        return _("%(field)s %(operator)s “%(value)s”") % {**words, "value": names["value"]}

    def _shown(self, text: str) -> str:
        """A value as the reader's language writes it."""
        if not text:
            return ""
        if self.what.kind == "number":
            return str(number_format(_number(text) or 0, use_l10n=True, force_grouping=True))
        if self.what.kind == "flag":
            return _("yes") if text == "yes" else _("no")
        if self.what.kind == "date" and self.operator == "between":
            day = _day(text)
            return date_format(day, "SHORT_DATE_FORMAT") if day else ""
        return text


def read_rules(
    fields: Sequence[str],
    operators: Sequence[str],
    values: Sequence[str],
    uppers: Sequence[str],
    *,
    zone: ZoneInfo,
    now: datetime,
) -> tuple[list[Rule], list[str]]:
    """The conditions in four lists of parameters, and a sentence for each that is left out.

    A row without a field is the empty row of the form, and nothing.
    """
    rules: list[Rule] = []
    problems: list[str] = []
    rows = zip_longest(fields, operators, values, uppers, fillvalue="")
    for name, operator, value, upper in rows:
        if not name:
            continue
        rule = Rule(name, operator, value.strip(), upper.strip())
        try:
            if len(rules) >= RULES_MAX:
                raise BadRule(_("there are more than %(limit)s conditions") % {"limit": RULES_MAX})
            _check(rule, zone, now)
        except BadRule as error:
            shown = str(FIELDS[name].label) if name in FIELDS else f"“{name[:40]}”"
            problems.append(
                _("The condition on %(field)s was left out: %(why)s.")
                % {"field": shown, "why": error}
            )
        else:
            rules.append(rule)
    return rules, problems


def _check(rule: Rule, zone: ZoneInfo, now: datetime) -> None:
    """Raise BadRule unless the condition can be asked."""
    if rule.field not in FIELDS:
        raise BadRule(_("there is no such field"))
    if rule.operator not in OF_KIND[rule.what.kind]:
        raise BadRule(_("this field cannot be asked that"))
    if "\x00" in rule.value + rule.upper or max(len(rule.value), len(rule.upper)) > VALUE_MAX:
        raise BadRule(_("its value is too long"))
    rule.condition(zone=zone, now=now)


def _emptiness(kind: str, path: str) -> Q:
    if kind == "tag":
        return ~Q(Exists(LeadTag.objects.filter(lead=OuterRef("pk"))))
    return Q(**{path: ""}) if kind == "text" else Q(**{f"{path}__isnull": True})


def _between(path: str, low: Any, high: Any) -> Q:
    if low is None and high is None:
        raise BadRule(_("it has no value"))
    found = Q(**{f"{path}__gte": low}) if low is not None else Q()
    return found & Q(**{f"{path}__lte": high}) if high is not None else found


def _number(text: str) -> Decimal | None:
    """A number, with a point or a comma before its decimals; None for ''. Raises BadRule."""
    if not text:
        return None
    try:
        number = Decimal(text.replace(",", "."))
    except InvalidOperation as error:
        raise BadRule(_("its value is not a number")) from error
    if not number.is_finite() or abs(number) > COUNT_MAX:
        raise BadRule(_("its value is not a number"))
    return number


def _day(text: str) -> date | None:
    """A day as browsers send it, 2026-03-04; None for ''. Raises BadRule."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise BadRule(_("its value is not a date")) from error
    # A day later is computed with, and so are time zones.
    if not 1900 <= day.year <= 2200:
        raise BadRule(_("its value is not a date"))
    return day
