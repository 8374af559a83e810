"""What may come in about leads by hand: one lead, a reason, a tag, a view's name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext as _, gettext_lazy

from leads import editing, exporting, importing
from leads.bulk import STOP_REASONS, TAG_MAX
from leads.identities import normalise_email, normalise_handle, normalise_phone
from leads.importing.limits import (
    GHL_ID_LIMIT,
    MAX_COUNT,
    MAX_PERCENT,
    TEXT_LIMITS,
    WEBSITE_LIMIT,
)
from leads.models import Lead
from tenants.models import Membership


def _text(label: Any, limit: int, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, max_length=limit, required=False, **options)


def _count(label: Any) -> forms.IntegerField:
    return forms.IntegerField(label=label, min_value=0, max_value=MAX_COUNT, required=False)


def _flag(label: Any) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        label=label,
        required=False,
        empty_value=None,
        coerce=lambda text: text == "yes",
        choices=[
            ("", gettext_lazy("unknown")),
            ("yes", gettext_lazy("yes")),
            ("no", gettext_lazy("no")),
        ],
    )


class LeadForm(forms.Form):
    """A lead; what is left empty is not known. `values` are clean for `editing`."""

    name = _text(gettext_lazy("Name"), TEXT_LIMITS["name"])
    bio = _text(gettext_lazy("Bio"), TEXT_LIMITS["bio"], widget=forms.Textarea(attrs={"rows": 4}))
    followers = _count(gettext_lazy("Followers"))
    following = _count(gettext_lazy("Following"))
    posts = _count(gettext_lazy("Posts"))
    recent_posts = _count(gettext_lazy("Posts of the last 30 days"))
    engagement = forms.DecimalField(
        label=gettext_lazy("Engagement, %"),
        min_value=Decimal(0),
        max_value=Decimal(MAX_PERCENT),
        max_digits=9,
        decimal_places=4,
        required=False,
    )
    is_private = _flag(gettext_lazy("Private profile"))
    is_business = _flag(gettext_lazy("Business account"))
    is_verified = _flag(gettext_lazy("Verified"))
    category = _text(gettext_lazy("Category"), TEXT_LIMITS["category"])
    frequency = _text(gettext_lazy("Posting frequency"), TEXT_LIMITS["frequency"])
    city = _text(gettext_lazy("City"), TEXT_LIMITS["city"])
    email = _text(gettext_lazy("E-mail"), 254)
    phone = _text(
        gettext_lazy("Phone"),
        40,
        help_text=gettext_lazy("Without a country code it is taken for a Brazilian number."),
    )
    website = _text(gettext_lazy("Website"), WEBSITE_LIMIT)
    ghl_id = _text(gettext_lazy("GHL contact"), GHL_ID_LIMIT)
    tags = _text(
        gettext_lazy("Tags"),
        2_000,
        help_text=gettext_lazy("Separated by commas. Campaigns can write to a tag."),
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    CLEAN = (
        ("email", normalise_email, gettext_lazy("This is not an e-mail address.")),
        ("phone", normalise_phone, gettext_lazy("This is not a phone number.")),
    )
    CELLS = (
        ("website", gettext_lazy("This is not an http address.")),
        ("ghl_id", gettext_lazy("This is not an id of GoHighLevel.")),
    )

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        for name, normalise, problem in self.CLEAN:
            if text := data.get(name):
                if (found := normalise(text)) is None:
                    self.add_error(name, problem)
                data[name] = found
        for name, problem in self.CELLS:
            if text := data.get(name):
                read = importing.read_object(0, {"handle": "x", name: text})
                if not isinstance(read, importing.Row) or read.warnings:
                    self.add_error(name, problem)
                else:
                    data[name] = str(read.values.get(name, ""))
        return data

    @property
    def values(self) -> dict[str, Any]:
        """The lead's fields, clean."""
        other = ("tags", "seen")
        return {name: value for name, value in self.cleaned_data.items() if name not in other}

    @property
    def tag_names(self) -> list[str]:
        return str(self.cleaned_data.get("tags") or "").split(",")

    @classmethod
    def initial_of(cls, lead: Lead) -> dict[str, Any]:
        """What the form shows of a stored lead."""
        words = {True: "yes", False: "no", None: ""}
        found = {name: getattr(lead, name) for name in cls.base_fields if hasattr(lead, name)}
        found |= {name: words[found[name]] for name in found if name.startswith("is_")}
        found["tags"] = ", ".join(tag.name for tag in lead.tags.all())
        return {**found, "seen": editing.version_of(lead)}


class NewLeadForm(LeadForm):
    """A lead that is not there yet; its handle stays for ever."""

    handle = forms.CharField(
        label=gettext_lazy("Instagram handle"),
        max_length=300,
        help_text=gettext_lazy("Or the address of the profile."),
    )
    field_order = ("handle",)

    def clean_handle(self) -> str:
        given = self.cleaned_data["handle"]
        handle = normalise_handle(given)
        if handle is None:
            raise forms.ValidationError(importing.sentence_for("bad_handle", {"value": given[:60]}))
        return handle


class StopForm(forms.Form):
    """Why somebody is not to be contacted."""

    reason = forms.ChoiceField(
        label=gettext_lazy("Reason"),
        choices=[("", gettext_lazy("Choose a reason")), *STOP_REASONS.items()],
    )


class EraseForm(forms.Form):
    """The handle, typed once more: nobody erases by a slip of the hand."""

    handle = forms.CharField(label=gettext_lazy("Type the handle to confirm"), max_length=300)

    def __init__(self, data: Any, *, handle: str) -> None:
        super().__init__(data)
        self._expected = handle
        self.fields["handle"].widget.attrs |= {"autocomplete": "off", "spellcheck": "false"}

    def clean_handle(self) -> str:
        given = str(self.cleaned_data["handle"])
        if normalise_handle(given) != self._expected:
            raise forms.ValidationError(
                _("This is not the handle. Type: %(handle)s") % {"handle": self._expected}
            )
        return given


class TagForm(forms.Form):
    """The tag that many leads get, or lose."""

    tag = forms.CharField(
        label=gettext_lazy("Tag"),
        max_length=TAG_MAX,
        widget=forms.TextInput(attrs={"list": "known-tags", "autocomplete": "off"}),
    )


class AssignForm(forms.Form):
    """Who in the team answers for leads; nobody is an answer, too."""

    owner = forms.ChoiceField(label=gettext_lazy("Owner"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = Membership.objects.select_related("user").order_by("user__name", "pk")
        self.fields["owner"].choices = [  # type: ignore[attr-defined]  # a field with choices
            ("", _("Nobody")),
            *((str(row.pk), str(row.user)) for row in members),
        ]


class ColumnsForm(forms.Form):
    """The columns of an export."""

    columns = forms.MultipleChoiceField(
        label=gettext_lazy("Columns"),
        choices=list(exporting.COLUMNS.items()),
        initial=list(exporting.DEFAULT),
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )

    def clean_columns(self) -> list[str]:
        # In our order, whatever the browser's.
        chosen = set(self.cleaned_data["columns"])
        return [name for name in exporting.COLUMNS if name in chosen]


class ViewForm(forms.Form):
    """The name of a view, and who sees it where."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    pinned = forms.BooleanField(
        label=gettext_lazy("Show it as a tab"), required=False, initial=True
    )
    shared = forms.BooleanField(
        label=gettext_lazy("Everybody in the workspace sees it"), required=False
    )

    def clean_name(self) -> str:
        name = " ".join(self.cleaned_data["name"].split())
        if not name:
            raise forms.ValidationError(_("Give the view a name."))
        return name
