"""What narrows the lists of campaigns and of a campaign's messages; page and API share them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from campaigns.models import Campaign, Message
from leads.models import Band


class CampaignFilter(forms.Form):
    """Name or tag, and state."""

    q = forms.CharField(required=False, label=_("Name or tag"), max_length=120)
    state = forms.ChoiceField(required=False, choices=[("", ""), *Campaign.State.choices])

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.is_valid()
        # Not "state" and "q": in a template those are the form's fields.
        self.chosen: str = self.cleaned_data.get("state", "")
        self.words: str = self.cleaned_data.get("q", "")

    def search(self, campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
        """Narrow by name and tag alone: what the counts of the state tabs are taken over."""
        if not self.words:
            return campaigns
        return campaigns.filter(Q(name__icontains=self.words) | Q(tags__icontains=self.words))

    def apply(self, campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
        """Narrow `campaigns`; a field that does not validate narrows nothing."""
        campaigns = self.search(campaigns)
        return campaigns.filter(state=self.chosen) if self.chosen else campaigns


class MessageFilter(forms.Form):
    """One bucket of the ledger, one reason in it, one account, one handle."""

    state = forms.ChoiceField(required=False, choices=[("", ""), *Message.State.choices])
    reason = forms.CharField(required=False, max_length=60)
    account = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    step = forms.IntegerField(required=False, min_value=1, max_value=10)
    version = forms.IntegerField(required=False, min_value=1, max_value=32_767)
    q = forms.CharField(required=False, label=_("Handle or name"), max_length=120)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.is_valid()
        self.chosen: str = self.cleaned_data.get("state", "")
        self.cause: str = self.cleaned_data.get("reason", "")
        self.account_id: int | None = self.cleaned_data.get("account")
        self.step_number: int | None = self.cleaned_data.get("step")
        self.step_version: int | None = self.cleaned_data.get("version")
        self.words: str = self.cleaned_data.get("q", "").lstrip("@")

    @property
    def narrows(self) -> bool:
        return bool(
            self.cause or self.account_id or self.step_number or self.step_version or self.words
        )

    def apply(self, messages: QuerySet[Message]) -> QuerySet[Message]:
        """Narrow `messages`; a field that does not validate narrows nothing."""
        if self.chosen:
            messages = messages.filter(state=self.chosen)
        if self.cause:
            messages = messages.filter(reason=self.cause)
        if self.account_id:
            messages = messages.filter(account=self.account_id)
        if self.step_number:
            messages = messages.filter(step_number=self.step_number)
        if self.step_version:
            messages = messages.filter(step_version=self.step_version)
        if self.words:
            named = Q(lead__handle__icontains=self.words) | Q(lead__name__icontains=self.words)
            messages = messages.filter(named)
        return messages


class ProspectFilter(forms.Form):
    """The audience of a draft: one band of those who are chosen, or one reason to be left out."""

    band = forms.ChoiceField(required=False, choices=[("", ""), *Band.choices])
    reason = forms.CharField(required=False, max_length=60)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.is_valid()
        self.chosen: str = self.cleaned_data.get("band", "")
        self.cause: str = self.cleaned_data.get("reason", "")
