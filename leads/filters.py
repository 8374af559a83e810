"""What narrows the list of leads; page and API share it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from leads.models import Band
from tenants.models import Tenant

# A LeadQuerySet that scored_under() has annotated; the type checker cannot see such columns.
Scored = Any
TAGS_MAX = 200
NO_BAND = "none"


class LeadFilter(forms.Form):
    """Handle or name, band, list or tag, eligibility, suppression.

    `apply` expects leads that `LeadQuerySet.scored_under` has annotated.
    """

    q = forms.CharField(required=False, max_length=200, label=_("Handle or name"))
    band = forms.ChoiceField(
        required=False, choices=[("", ""), *Band.choices, (NO_BAND, "")], label=_("Band")
    )
    tag = forms.ChoiceField(required=False, label=_("List or tag"))
    eligible = forms.ChoiceField(
        required=False,
        label=_("Eligibility"),
        choices=[("", _("Eligible or not")), ("yes", _("Eligible")), ("no", _("Not eligible"))],
    )
    suppressed = forms.ChoiceField(
        required=False,
        label=_("Suppression"),
        choices=[
            ("", _("Suppressed or not")),
            ("no", _("May be written to")),
            ("yes", _("Suppressed")),
        ],
    )

    def __init__(self, data: Any, *, tenant: Tenant) -> None:
        super().__init__(data)
        tags = tenant.lead_tags.order_by("name").values_list("name", flat=True).distinct()
        self.fields["tag"].choices = [  # type: ignore[attr-defined]
            ("", _("All lists and tags")),
            *((name, name) for name in tags[:TAGS_MAX]),
        ]
        self.is_valid()

    @property
    def band_chosen(self) -> str:
        return str(self.cleaned_data.get("band", ""))

    @property
    def narrows(self) -> bool:
        """Whether anything is filtered at all: an empty list then says so."""
        return any(self.cleaned_data.values())

    def apply(self, leads: Scored) -> Scored:
        """Narrow `leads`; a field that does not validate narrows nothing."""
        return self.in_band(self.narrow(leads), self.band_chosen)

    def narrow(self, leads: Scored) -> Scored:
        """Narrow by everything but the band: what the counts of the band chips are taken over."""
        data = self.cleaned_data
        if words := data.get("q"):
            leads = leads.filter(Q(handle__icontains=words.lstrip("@")) | Q(name__icontains=words))
        if tag := data.get("tag"):
            leads = leads.filter(tags__name=tag)
        if eligible := data.get("eligible"):
            leads = leads.filter(eligible=eligible == "yes")
        if suppressed := data.get("suppressed"):
            leads = leads.filter(suppressed_at__isnull=suppressed == "no")
        return leads

    @staticmethod
    def in_band(leads: Scored, band: str) -> Scored:
        """Leads of one band; NO_BAND gives those without a score, '' everybody with one.

        The score's tenant is named too: the index that orders leads by score begins with it.
        """
        if band == NO_BAND:
            return leads.filter(total__isnull=True)
        leads = leads.filter(score__tenant=F("tenant"))
        return leads.filter(band=band) if band else leads.filter(total__isnull=False)
