"""What narrows the lists of campaigns and of a campaign's messages; page and API share them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign, Message


class CampaignFilter(forms.Form):
    """Name and state."""

    q = forms.CharField(required=False, label=_("Name"), max_length=120)
    state = forms.ChoiceField(required=False, choices=[("", ""), *Campaign.State.choices])

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.is_valid()
        # Not "state" and "q": in a template those are the form's fields.
        self.chosen: str = self.cleaned_data.get("state", "")
        self.words: str = self.cleaned_data.get("q", "")

    def search(self, campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
        """Narrow by name alone: what the counts of the state tabs are taken over."""
        return campaigns.filter(name__icontains=self.words) if self.words else campaigns

    def apply(self, campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
        """Narrow `campaigns`; a field that does not validate narrows nothing."""
        campaigns = self.search(campaigns)
        return campaigns.filter(state=self.chosen) if self.chosen else campaigns


class MessageFilter(forms.Form):
    """One bucket of the ledger."""

    state = forms.ChoiceField(required=False, choices=[("", ""), *Message.State.choices])

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.is_valid()
        self.chosen: str = self.cleaned_data.get("state", "")
