"""What narrows the list of leads; page, bulk jobs, exports and API share it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from operator import and_, or_
from typing import Any

from django import forms
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy

from agenticos.sql import distinct_values
from leads.models import Band, Lead, LeadTag
from leads.segments import Rule, holds, read_rules, source_label
from tenants.models import Tenant

# A LeadQuerySet that scored_under() has annotated; the type checker cannot see such columns.
Scored = Any
CHOICES_MAX = 200
NO_BAND = "none"
NOBODY = "none"  # leads without an owner


def _yes_no(label: Any, neither: Any, yes: Any, no: Any) -> forms.ChoiceField:
    choices = [("", neither), ("yes", yes), ("no", no)]
    return forms.ChoiceField(required=False, label=label, choices=choices)


class LeadFilter(forms.Form):
    """Words, band, list or tag, source, campaign, eligibility, suppression, and typed conditions.

    `apply` expects leads that `LeadQuerySet.scored_under` has annotated. `problems` says what of
    the address could not be understood and is left out.
    """

    q = forms.CharField(required=False, max_length=200, label=gettext_lazy("Handle or name"))
    band = forms.ChoiceField(
        required=False,
        choices=[("", ""), *Band.choices, (NO_BAND, "")],
        label=gettext_lazy("Band"),
    )
    # Names are not checked against what there is: a tag that nobody has any more finds nobody.
    tag = forms.CharField(required=False, max_length=80, label=gettext_lazy("List or tag"))
    source = forms.CharField(required=False, max_length=80, label=gettext_lazy("Source"))
    campaign = forms.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, label=gettext_lazy("Campaign")
    )
    owner = forms.RegexField(
        rf"^({NOBODY}|[1-9][0-9]{{0,17}})$", required=False, label=gettext_lazy("Owner")
    )
    messaged = _yes_no(
        gettext_lazy("First message"),
        gettext_lazy("Written to or not"),
        gettext_lazy("Written to"),
        gettext_lazy("Never written to"),
    )
    eligible = _yes_no(
        gettext_lazy("Eligibility"),
        gettext_lazy("Eligible or not"),
        gettext_lazy("Eligible"),
        gettext_lazy("Not eligible"),
    )
    suppressed = _yes_no(
        gettext_lazy("Suppression"),
        gettext_lazy("Suppressed or not"),
        gettext_lazy("Suppressed"),
        gettext_lazy("May be written to"),
    )

    def __init__(self, data: Any, *, tenant: Tenant, now: datetime | None = None) -> None:
        super().__init__(data)
        self.tenant = tenant
        self.now = now or timezone.now()
        self.is_valid()
        self.few: list[int] | None = None
        self.often = False
        self.match = "any" if data.get("match") == "any" else "all"
        many = data.getlist if hasattr(data, "getlist") else lambda name: []
        self.rules, self.problems = read_rules(
            many("f"), many("o"), many("v"), many("u"), zone=tenant.zone, now=self.now
        )
        self.problems[:0] = [
            _("“%(field)s” was left out: its value is not one we know.")
            % {"field": self.fields[name].label}
            for name in self.errors
        ]

    @property
    def band_chosen(self) -> str:
        return str(self.cleaned_data.get("band", ""))

    @property
    def narrows(self) -> bool:
        """Whether anything is filtered at all: an empty list then says so."""
        return any(self.cleaned_data.values()) or bool(self.rules)

    def found(self, keys: Sequence[int], *, all_of_them: bool) -> None:
        """Remember what was found, so that the next question need not look for it again.

        `keys` are of leads that `narrow` left: all of them, or so many that there are a lot.
        """
        self.few, self.often = (list(keys), False) if all_of_them else (None, True)

    def pairs(self) -> list[tuple[str, str]]:
        """The filter as parameters of an address, always in the same order and nothing empty."""
        found = [
            (name, str(value))
            for name in self.fields
            if (value := self.cleaned_data.get(name)) not in ("", None)
        ]
        if self.match == "any" and len(self.rules) > 1:
            found.append(("match", "any"))
        return found + [pair for rule in self.rules for pair in rule.pairs()]

    def apply(self, leads: Scored) -> Scored:
        """Narrow `leads`; a field that does not validate narrows nothing."""
        return self.in_band(self.narrow(leads), self.band_chosen)

    def narrow(self, leads: Scored) -> Scored:
        """Narrow by everything but the band: what the counts of the band chips are taken over."""
        if self.few is not None:
            return leads.filter(pk__in=self.few)
        data = self.cleaned_data
        if words := data.get("q"):
            handle = words.lstrip("@").lower()  # as handles are kept
            leads = leads.filter(
                holds("handle", handle, often=self.often, as_is=True)
                | holds("name", words, often=self.often)
            )
        if tag := data.get("tag"):
            leads = leads.filter(tags__name=tag)
        if source := data.get("source"):
            leads = leads.filter(source=source)
        if campaign := data.get("campaign"):
            written = self.tenant.messages.filter(campaign_id=campaign)
            leads = leads.filter(pk__in=written.values("lead_id"))
        if owner := data.get("owner"):
            nobody = owner == NOBODY
            leads = leads.filter(owner=None) if nobody else leads.filter(owner_id=int(owner))
        if messaged := data.get("messaged"):
            leads = leads.filter(first_touch_at__isnull=messaged == "no")
        if eligible := data.get("eligible"):
            leads = leads.filter(eligible=eligible == "yes")
        if suppressed := data.get("suppressed"):
            leads = leads.filter(suppressed_at__isnull=suppressed == "no")
        return leads.filter(self._typed()) if self.rules else leads

    def _typed(self) -> Q:
        conditions = [
            rule.condition(zone=self.tenant.zone, now=self.now, often=self.often)
            for rule in self.rules
        ]
        return reduce(or_ if self.match == "any" else and_, conditions)

    def without(self, rule: Rule) -> list[tuple[str, str]]:
        """The parameters of the filter without one of its conditions."""
        gone = rule.pairs()
        pairs = self.pairs()
        for place in range(len(pairs) - 3):
            if pairs[place : place + 4] == gone:
                return pairs[:place] + pairs[place + 4 :]
        return pairs

    @staticmethod
    def in_band(leads: Scored, band: str) -> Scored:
        """Leads of one band; NO_BAND gives those without a score, '' everybody with one."""
        if band == NO_BAND:
            # By the column that joins: so the database sees that no score is to be found.
            return leads.filter(score__lead__isnull=True)
        return leads.filter(band=band) if band else leads.filter(total__isnull=False)

    def offer(
        self, campaigns: Sequence[tuple[int, str]], owners: Sequence[tuple[int, str]]
    ) -> None:
        """Make lists of the fields whose values are there to choose from, for the page."""
        tags = distinct_values(LeadTag, "name", CHOICES_MAX)
        sources = filter(None, distinct_values(Lead, "source", CHOICES_MAX))
        offered: tuple[tuple[str, str, list[tuple[str, str]]], ...] = (
            ("tag", _("All lists and tags"), [(tag, tag) for tag in tags]),
            ("source", _("All sources"), [(each, source_label(each)) for each in sources]),
            ("campaign", _("All campaigns"), [(str(pk), name) for pk, name in campaigns]),
            (
                "owner",
                _("All owners"),
                [(NOBODY, _("Nobody's")), *((str(pk), name) for pk, name in owners)],
            ),
        )
        for name, everything, found in offered:
            chosen = str(self.cleaned_data.get(name) or "")
            if chosen and chosen not in dict(found):
                found.append((chosen, chosen))
            self.fields[name].widget = forms.Select(choices=[("", everything), *found])
