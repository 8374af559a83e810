"""What may come in about sending accounts: a new one, its pace, why it is blocked."""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import Any

from django import forms
from django.utils.translation import gettext as _, gettext_lazy

from campaigns.forms import ErrorLimitForm
from campaigns.models import SendingAccount
from integrations.forms import TokenField
from leads.identities import normalise_handle
from tenants.models import Tenant

CAP_MAX = 100_000
GAP_MAX_S = 24 * 3600


class AccountForm(forms.Form):
    """An Instagram business account."""

    handle = forms.CharField(label=gettext_lazy("Handle"), max_length=120)
    external_id = forms.RegexField(
        r"^\d{5,30}$",
        label=gettext_lazy("Instagram business account id"),
        help_text=gettext_lazy(
            "Digits only. In Meta's Business Suite: Settings, Accounts, Instagram accounts."
        ),
        error_messages={
            "invalid": gettext_lazy(
                "The id has digits only, such as 17841400000000000. The handle is not the id."
            )
        },
    )
    token = TokenField(
        label=gettext_lazy("Access token"),
        help_text=gettext_lazy(
            "A long-lived token with the permission to send messages. Tried out at Instagram "
            "first, then stored encrypted, and never shown again."
        ),
    )

    def clean_handle(self) -> str:
        handle = normalise_handle(self.cleaned_data["handle"])
        if handle is None:
            raise forms.ValidationError(
                _("This is no Instagram handle: letters, digits, dots and underscores, up to 30.")
            )
        return str(handle)


class PaceForm(ErrorLimitForm):
    """How much and how fast an account sends, whose clock counts, and when it stops by itself."""

    day_cap = forms.IntegerField(
        label=gettext_lazy("Messages a day"), min_value=0, max_value=CAP_MAX
    )
    hour_cap = forms.IntegerField(
        label=gettext_lazy("Messages an hour"), min_value=0, max_value=CAP_MAX
    )
    gap_min_s = forms.IntegerField(
        label=gettext_lazy("Shortest pause, seconds"), min_value=0, max_value=GAP_MAX_S
    )
    gap_max_s = forms.IntegerField(
        label=gettext_lazy("Longest pause, seconds"), min_value=0, max_value=GAP_MAX_S
    )
    jitter_percent = forms.IntegerField(
        label=gettext_lazy("Jitter, ± %"),
        min_value=0,
        max_value=100,
        help_text=gettext_lazy("Each pause is longer or shorter by up to this share."),
    )
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        required=False,
        help_text=gettext_lazy("Its days and hours are counted on this clock."),
    )

    def __init__(self, *args: Any, tenant: Tenant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = _("The workspace's (%(zone)s)") % {"zone": tenant.time_zone}
        self.fields["time_zone"].choices = [  # type: ignore[attr-defined]  # a field with choices
            ("", own),
            *((name, name) for name in _zones()),
        ]

    @staticmethod
    def initial_of(account: SendingAccount) -> dict[str, Any]:
        """The form's values for a stored account."""
        return {name: getattr(account, name) for name in PaceForm.base_fields}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        shortest, longest = data.get("gap_min_s"), data.get("gap_max_s")
        if shortest is not None and longest is not None and shortest > longest:
            self.add_error(
                "gap_max_s", _("The longest pause must not be below the shortest (%(n)s s).")
                % {"n": shortest},
            )  # fmt: skip
        return data


@lru_cache(maxsize=1)
def _zones() -> tuple[str, ...]:
    """Every IANA zone, as `check_time_zone` knows them."""
    return tuple(sorted(zoneinfo.available_timezones()))


class BlockForm(forms.Form):
    """Why a person takes an account out of rotation."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        required=False,
        help_text=gettext_lazy("Shown beside the account until it is unblocked."),
    )
