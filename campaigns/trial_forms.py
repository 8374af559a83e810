"""What may come in about test messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _, gettext_lazy

from campaigns import rendering, trials
from campaigns.facts import values_of
from campaigns.models import SendingAccount
from campaigns.sampling import Sample
from leads.models import Lead


class RecipientForm(forms.Form):
    """A profile of the team's own."""

    recipient = forms.CharField(
        label=gettext_lazy("Handle, or the number that Instagram has for this person"),
        max_length=64,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "@", "autocapitalize": "none"}),
    )


class TrialForm(forms.Form):
    """A text, the account that sends it, and the person whose values fill it in."""

    text = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=trials.TEXT_MOST,
        widget=forms.Textarea(attrs={"rows": 6}),
    )
    account = forms.ChoiceField(label=gettext_lazy("From"))
    lead = forms.ChoiceField(
        label=gettext_lazy("With the values of"),
        required=False,
        help_text=gettext_lazy("The awkward ones first. They get nothing: only their values do."),
    )
    key = forms.RegexField(trials.KEY, widget=forms.HiddenInput)

    def __init__(
        self,
        *args: Any,
        accounts: Sequence[SendingAccount],
        people: Sequence[Sample],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.choosable = list(accounts)
        self._people: dict[str, Lead] = {str(one.lead.pk): one.lead for one in people}
        self.fields["account"].choices = [  # type: ignore[attr-defined]  # a field with choices
            (str(row.pk), self._name(row)) for row in accounts
        ]
        self.fields["lead"].choices = [  # type: ignore[attr-defined]  # a field with choices
            (str(one.lead.pk), self._person(one)) for one in people
        ] or [("", _("nobody: there are no leads yet"))]

    @staticmethod
    def _name(row: SendingAccount) -> str:
        if not row.test_recipient:
            return _("@%(handle)s (nobody gets its tests yet)") % {"handle": row.handle}
        return f"@{row.handle} → {row.test_recipient}"

    @staticmethod
    def _person(one: Sample) -> str:
        name = f" · {one.lead.name}" if one.lead.name else ""
        marks = f" ({', '.join(one.marks_shown)})" if one.marks else ""
        return f"@{one.lead.handle}{name}{marks}"

    @property
    def chosen(self) -> SendingAccount | None:
        """The account that is picked now, else the first."""
        wanted = str(self["account"].value() or "")
        first = self.choosable[0] if self.choosable else None
        return next((row for row in self.choosable if str(row.pk) == wanted), first)

    @property
    def person(self) -> Lead | None:
        """The lead that is picked now, else the first."""
        first = next(iter(self._people.values()), None)
        return self._people.get(str(self["lead"].value() or ""), first)

    def clean_account(self) -> SendingAccount:
        wanted = self.cleaned_data["account"]
        return next(row for row in self.choosable if str(row.pk) == wanted)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if "text" not in data:
            return data
        lead = self._people.get(data.get("lead", ""))
        values = values_of(lead) if lead else dict.fromkeys(rendering.PLACEHOLDERS, "")
        try:
            rendered = rendering.render(rendering.parse(data["text"]), values, seed="test")
        except rendering.BadTemplate as error:
            self.add_error("text", error.sentence)
            return data
        if rendered.missing:
            self.add_error(
                "lead",
                _("Not known of this person: %(names)s. Choose somebody else, or give a fallback.")
                % {"names": ", ".join(rendered.missing)},
            )
        data["rendered"] = rendered.text
        return data
