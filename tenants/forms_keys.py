"""What may come in about API keys."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from tenants.api_keys import DAYS, DAYS_MOST
from tenants.authentication import scopes_for
from tenants.models import Membership

# What a scope lets a program do, in the order of the form.
SCOPE_NAMES: dict[str, Promise] = {
    "leads:read": _("read leads, segments and imports"),
    "leads:write": _("add, change and import leads"),
    "campaigns:read": _("read campaigns, messages and templates"),
    "campaigns:write": _("write campaigns and templates, pause, stop, resolve"),
    "campaigns:launch": _("start and resume campaigns"),
    "inbox:read": _("read conversations"),
    "inbox:write": _("answer conversations"),
    "integrations:read": _("see what reaches the CRM"),
    "integrations:write": _("retry and discard what did not reach the CRM"),
    "icp:read": _("read the ICP and its versions"),
    "icp:write": _("publish ICP versions"),
    "exports": _("export leads"),
    "audit:read": _("read the audit trail"),
    "admin": _("everything that your role allows, also what comes later"),
}


class KeyForm(forms.Form):
    """A name, scopes of those that the member's role has a use for, and how long it lives."""

    name = forms.CharField(
        label=_("Name"),
        max_length=60,
        help_text=_("Which program will hold it: so that you know what stops when you revoke it."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"), widget=forms.CheckboxSelectMultiple({"class": "form-check-input"})
    )
    days = forms.IntegerField(
        label=_("Ends after … days"),
        min_value=1,
        max_value=DAYS_MOST,
        initial=DAYS,
        help_text=_("At most 365. It can be rotated before, without an interruption."),
    )

    def __init__(self, *args: Any, member: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scopes: Any = self.fields["scopes"]
        scopes.choices = [(name, SCOPE_NAMES[name]) for name in scopes_for(member)]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise forms.ValidationError(_("A name has no control characters."), code="bad_name")
        return name


class RotateForm(forms.Form):
    """How long the old key goes on."""

    overlap_hours = forms.TypedChoiceField(
        label=_("The old key goes on for"),
        coerce=int,
        choices=[(24, _("24 hours")), (4, _("4 hours")), (1, _("1 hour")), (0, _("no longer"))],
        initial=24,
    )
