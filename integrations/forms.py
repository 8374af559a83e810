"""What may come in: a credential, a new connection, a reason, the sync log's filter."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils.translation import gettext as _, gettext_lazy

from integrations.models import SyncItem

TOKEN_MAX = 4_000
WORDS_MAX = 120


class TokenField(forms.CharField):
    """A credential: goes in, and is never shown again, not even when another field is wrong."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.PasswordInput(
            render_value=False, attrs={"autocomplete": "off", "spellcheck": "false"}
        )
        super().__init__(
            **{
                "label": gettext_lazy("Token"),
                "max_length": TOKEN_MAX,
                "widget": widget,
                "help_text": gettext_lazy(
                    "Tried out at the provider first, then stored encrypted, and never shown again."
                ),
                **kwargs,
            }
        )

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        if any(not ("!" <= letter <= "~") for letter in text):
            raise ValidationError(
                _("A token has no spaces or accents. Copy it once more, whole."), code="not_a_token"
            )
        return text


class TokenForm(forms.Form):
    """A new credential for what is connected already."""

    token = TokenField(label=gettext_lazy("New token"))


class GhlForm(forms.Form):
    """A location of GoHighLevel."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=80,
        help_text=gettext_lazy("How your team calls it, such as the name of the clinic."),
    )
    external_id = forms.RegexField(
        r"^[\w.-]+$",
        label=gettext_lazy("Location id"),
        max_length=80,
        help_text=gettext_lazy(
            "In GoHighLevel: Settings, Business Profile. It also stands in the address of every "
            "page of the location, after /location/."
        ),
        error_messages={
            "invalid": gettext_lazy("A location id has letters and digits only, without spaces.")
        },
    )
    token = TokenField(
        label=gettext_lazy("Private integration token"),
        help_text=gettext_lazy(
            "In GoHighLevel: Settings, Private Integrations, with the scopes for contacts, custom "
            "fields and locations. Tried out first, then stored encrypted, and never shown again."
        ),
    )


class DiscardForm(forms.Form):
    """Why a dead letter may be dropped."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("For whoever looks at it later."),
    )


class OutboxFilter:
    """The sync log's filter, from the address; what does not make sense narrows nothing."""

    def __init__(self, data: QueryDict) -> None:
        state = data.get("state", "")
        self.chosen = state if state in SyncItem.State.values else ""
        self.words = data.get("q", "").replace("\x00", "").strip().lstrip("@")[:WORDS_MAX]
        self.reason = data.get("reason", "").replace("\x00", "")[:60]

    def search(self, items: QuerySet[SyncItem]) -> QuerySet[SyncItem]:
        """Narrow by words and reason alone: what the tabs count."""
        if self.words:
            items = items.filter(
                Q(wanted__handle__icontains=self.words)
                | Q(wanted__first_name__icontains=self.words)
                | Q(wanted__last_name__icontains=self.words)
            )
        if self.reason:
            items = items.filter(reason=self.reason)
        return items

    def apply(self, items: QuerySet[SyncItem]) -> QuerySet[SyncItem]:
        items = self.search(items)
        return items.filter(state=self.chosen) if self.chosen else items
