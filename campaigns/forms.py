"""What may come in: a campaign's draft, a typed confirmation, what happened to a message."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext, gettext_lazy as _

from campaigns import rendering
from campaigns.models import Campaign, SendingAccount
from leads.identities import normalise_handle
from leads.models import Band
from tenants.models import Tenant

DAYS = [
    ("0", _("Mon")),
    ("1", _("Tue")),
    ("2", _("Wed")),
    ("3", _("Thu")),
    ("4", _("Fri")),
    ("5", _("Sat")),
    ("6", _("Sun")),
]
HANDLES_MAX = 500
TAGS_MAX = 200


def _checks() -> forms.CheckboxSelectMultiple:
    return forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})


class AccountsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Sending accounts; one that cannot send says so."""

    def label_from_instance(self, obj: SendingAccount) -> str:
        if obj.state == SendingAccount.State.ACTIVE:
            return str(obj)
        return f"{obj} ({obj.get_state_display()})"


class CampaignForm(forms.Form):
    """A draft: who, what, from whom, when. `saved()` gives what `actions.create_campaign` takes."""

    name = forms.CharField(label=_("Name"), max_length=120)
    kind = forms.ChoiceField(
        label=_("Who"),
        choices=[("filter", _("The best leads of a filter")), ("handles", _("A list of handles"))],
        widget=forms.RadioSelect(attrs={"class": "form-check-input"}),
        initial="filter",
    )
    bands = forms.MultipleChoiceField(
        label=_("Bands"),
        required=False,
        choices=[
            (Band.HOT, Band.HOT.label),
            (Band.WARM, Band.WARM.label),
            (Band.COLD, Band.COLD.label),
        ],
        widget=_checks(),
        initial=[Band.HOT, Band.WARM],
    )
    tag = forms.ChoiceField(label=_("List or tag"), required=False)
    handles = forms.CharField(
        label=_("Handles"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "placeholder": "@ana.silva\n@clinica_sorriso"}),
        help_text=_(
            "One per line or separated by spaces or commas. Import them as leads first: without "
            "a score nobody is written to."
        ),
    )
    min_score = forms.IntegerField(
        label=_("Minimum score"),
        min_value=0,
        max_value=100,
        initial=0,
        help_text=_("Checked again at the moment of sending."),
    )
    limit = forms.IntegerField(
        label=_("At most"), min_value=1, max_value=100_000, initial=500, help_text=_("people")
    )
    text = forms.CharField(
        label=_("First message"),
        max_length=rendering.MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 7, "data-text": ""}),
    )
    accounts = AccountsField(
        label=_("Send from"), queryset=SendingAccount.objects.none(), widget=_checks()
    )
    always = forms.BooleanField(label=_("At any hour, on any day"), required=False)
    days = forms.MultipleChoiceField(
        label=_("Days"), required=False, choices=DAYS, widget=_checks(), initial=list("012345")
    )
    opens = forms.TimeField(
        label=_("From"), required=False, widget=forms.TimeInput(format="%H:%M"), initial="09:00"
    )
    closes = forms.TimeField(
        label=_("Until"), required=False, widget=forms.TimeInput(format="%H:%M"), initial="20:00"
    )

    def __init__(self, *args: Any, tenant: Tenant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accounts = tenant.sending_accounts.exclude(state=SendingAccount.State.OFF)
        self.fields["accounts"].queryset = accounts.order_by("handle")  # type: ignore[attr-defined]
        tags = tenant.lead_tags.order_by("name").values_list("name", flat=True).distinct()
        self.fields["tag"].choices = [  # type: ignore[attr-defined]
            ("", _("Any")),
            *((name, name) for name in tags[:TAGS_MAX]),
        ]
        for name in ("opens", "closes"):
            self.fields[name].widget.input_type = "time"
        if not self.is_bound and not self.initial:
            able = accounts.filter(state=SendingAccount.State.ACTIVE)
            self.initial = {"accounts": list(able.values_list("pk", flat=True))}

    @staticmethod
    def initial_of(campaign: Campaign) -> dict[str, Any]:
        """The form's values for a stored draft."""
        step = campaign.steps.order_by("number", "-version").first()
        window = campaign.window or {}
        return {
            "name": campaign.name,
            "kind": campaign.audience.get("kind", "filter"),
            "bands": campaign.audience.get("bands", []),
            "tag": campaign.audience.get("tag", ""),
            "handles": "\n".join(f"@{name}" for name in campaign.audience.get("handles", [])),
            "min_score": campaign.min_score,
            "limit": campaign.limit,
            "text": step.body if step else "",
            "accounts": list(campaign.accounts.values_list("pk", flat=True)),
            "always": not window,
            "days": [str(day) for day in window.get("days", range(6))],
            "opens": window.get("from", "09:00"),
            "closes": window.get("to", "20:00"),
        }

    def clean_text(self) -> str:
        text = str(self.cleaned_data["text"])
        try:
            rendering.parse(text)
        except rendering.BadTemplate as error:
            raise forms.ValidationError(error.sentence) from error
        return text

    def clean_handles(self) -> list[str]:
        written = str(self.cleaned_data["handles"]).replace(",", " ").replace(";", " ").split()
        handles: dict[str, None] = {}
        for word in written:
            handle = normalise_handle(word)
            if handle is None:
                raise forms.ValidationError(
                    gettext("“%(word)s” is not an Instagram handle.") % {"word": word[:60]}
                )
            handles[handle] = None
        if len(handles) > HANDLES_MAX:
            raise forms.ValidationError(
                gettext("At most %(limit)s handles are possible here. Import them as a list.")
                % {"limit": HANDLES_MAX}
            )
        return list(handles)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("kind") == "handles":
            if not data.get("handles") and "handles" not in self.errors:
                self.add_error("handles", gettext("Write at least one handle."))
        elif not data.get("bands"):
            self.add_error("bands", gettext("Choose at least one band."))
        if not data.get("always"):
            opens, closes = data.get("opens"), data.get("closes")
            if not data.get("days"):
                self.add_error("days", gettext("Choose at least one day."))
            if not opens or not closes or opens >= closes:
                self.add_error("closes", gettext("The window must end after it begins."))
        return data

    def saved(self) -> dict[str, Any]:
        """The values to store, of a valid form."""
        data = self.cleaned_data
        if data["kind"] == "handles":
            audience: dict[str, Any] = {"kind": "handles", "handles": data["handles"]}
        else:
            audience = {"kind": "filter", "bands": data["bands"]}
            if data["tag"]:
                audience["tag"] = data["tag"]
        window: dict[str, Any] = {}
        if not data["always"]:
            window = {
                "days": sorted(int(day) for day in data["days"]),
                "from": f"{data['opens']:%H:%M}",
                "to": f"{data['closes']:%H:%M}",
            }
        return {
            "name": data["name"],
            "audience": audience,
            "min_score": data["min_score"],
            "limit": data["limit"],
            "text": data["text"],
            "accounts": list(data["accounts"]),
            "window": window,
        }


class ResolveForm(forms.Form):
    """What happened to a message whose outcome nobody knew."""

    outcome = forms.ChoiceField(
        choices=[("sent", _("It was sent")), ("send_again", _("Send again")), ("skip", _("Skip"))]
    )
