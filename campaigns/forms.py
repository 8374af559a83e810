"""What may come in: a campaign's draft, a typed confirmation, what happened to a message."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext, gettext_lazy as _, ngettext

from agenticos.sql import distinct_values
from campaigns import rendering
from campaigns.models import Campaign, SendingAccount
from leads.identities import normalise_handle
from leads.models import Band, Lead, LeadTag
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
_PACE = ("min_score", "day_cap", "error_percent", "error_window_min")
CHOICES_MAX = 200
DAY_CAP_MAX = 1_000_000
FILE_MAX = 1_000_000  # bytes
HANDLE_HEADERS = ("handle", "username", "user", "instagram", "usuario", "usuário", "perfil")


def _checks() -> forms.CheckboxSelectMultiple:
    return forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})


class AccountsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]  # generic in the stubs alone
    """Sending accounts; one that cannot send says so."""

    def label_from_instance(self, obj: SendingAccount) -> str:
        if obj.state == SendingAccount.State.ACTIVE:
            return str(obj)
        return f"{obj} ({obj.get_state_display()})"


class NameForm(forms.Form):
    """What a campaign is called, and the tags it is found by."""

    name = forms.CharField(label=_("Name"), max_length=120)
    tags = forms.CharField(
        label=_("Tags"), required=False, max_length=200, help_text=_("Separated by commas.")
    )

    @staticmethod
    def initial_of(campaign: Campaign) -> dict[str, Any]:
        return {"name": campaign.name, "tags": campaign.tags}

    def clean_tags(self) -> str:
        words = (" ".join(word.split()) for word in str(self.cleaned_data["tags"]).split(","))
        return ", ".join(dict.fromkeys(word for word in words if word))

    def saved(self) -> dict[str, Any]:
        """The values to store, of a valid form."""
        return {"name": self.cleaned_data["name"], "tags": self.cleaned_data["tags"]}


class StartForm(forms.Form):
    """When a draft starts: now, or at a time in the workspace's zone, which is in force."""

    when = forms.ChoiceField(choices=[("now", ""), ("later", "")], required=False)
    at = forms.DateTimeField(
        label=_("Start at"),
        required=False,
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"}),
    )

    def clean(self) -> dict[str, Any]:
        if self.later and not self.cleaned_data.get("at") and "at" not in self.errors:
            self.add_error("at", gettext("Give a day and a time."))
        return self.cleaned_data

    @property
    def later(self) -> bool:
        """Whether “later” is chosen."""
        return bool(self.data.get("when") == "later" if self.is_bound else self.initial.get("at"))

    @property
    def chosen(self) -> datetime | None:
        """The time to start, of a valid form; None for now."""
        return self.cleaned_data["at"] if self.later else None


class AudienceForm(NameForm):
    """The first step of a draft: whom it writes to. `saved()` is what `drafting` takes.

    With `counting` only the audience has to be right, for the live count.
    """

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
    source = forms.ChoiceField(label=_("Source"), required=False)
    handles = forms.CharField(
        label=_("Handles"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "placeholder": "@ana.silva\n@clinica_sorriso"}),
        help_text=_(
            "One per line or separated by spaces or commas. Import them as leads first: without "
            "a score nobody is written to."
        ),
    )
    file = forms.FileField(
        label=_("Or a CSV file"),
        required=False,
        help_text=_("The handles are read from its column “handle” or “username”, else its first."),
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

    def __init__(self, *args: Any, tenant: Tenant, counting: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field, found in (
            ("tag", distinct_values(LeadTag, "name", CHOICES_MAX)),
            ("source", filter(None, distinct_values(Lead, "source", CHOICES_MAX))),
        ):
            self.fields[field].choices = [  # type: ignore[attr-defined]  # a field with choices
                ("", _("Any")),
                *((name, name) for name in found),
            ]
        if counting:
            self.fields["name"].required = False

    @staticmethod
    def initial_of(campaign: Campaign) -> dict[str, Any]:
        """The form's values for a stored draft."""
        return {
            **NameForm.initial_of(campaign),
            "kind": campaign.audience.get("kind", "filter"),
            "bands": campaign.audience.get("bands", []),
            "tag": campaign.audience.get("tag", ""),
            "source": campaign.audience.get("source", ""),
            "handles": "\n".join(f"@{name}" for name in campaign.audience.get("handles", [])),
            "min_score": campaign.min_score,
            "limit": campaign.limit,
        }

    def clean_handles(self) -> list[str]:
        written = str(self.cleaned_data["handles"]).replace(",", " ").replace(";", " ").split()
        return _handles(written)

    def clean_file(self) -> list[str]:
        file = self.cleaned_data["file"]
        if not file:
            return []
        if file.size > FILE_MAX:
            raise forms.ValidationError(gettext("The file is too large here. Import it as a list."))
        return _handles(handle_cells(file.read()))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("kind") != "handles":
            if not data.get("bands"):
                self.add_error("bands", gettext("Choose at least one band."))
            return data
        handles = [*dict.fromkeys([*data.get("handles", []), *(data.get("file") or [])])]
        if not handles and not {"handles", "file"} & set(self.errors):
            self.add_error("handles", gettext("Write at least one handle."))
        if len(handles) > HANDLES_MAX:
            self.add_error(
                "handles",
                gettext("At most %(limit)s handles are possible here. Import them as a list.")
                % {"limit": HANDLES_MAX},
            )
        data["handles"] = handles
        return data

    def saved(self) -> dict[str, Any]:
        """The values to store, of a valid form."""
        data = self.cleaned_data
        if data["kind"] == "handles":
            audience: dict[str, Any] = {"kind": "handles", "handles": data["handles"]}
        else:
            audience = {"kind": "filter", "bands": data["bands"]}
            audience |= {name: data[name] for name in ("tag", "source") if data[name]}
        return {
            **super().saved(),
            "audience": audience,
            "min_score": data["min_score"],
            "limit": data["limit"],
        }


def _handles(words: list[str]) -> list[str]:
    """The handles, normalised, each once. Raises ValidationError for a word that is none."""
    handles: dict[str, None] = {}
    for word in words:
        handle = normalise_handle(word)
        if handle is None:
            raise forms.ValidationError(
                gettext("“%(word)s” is not an Instagram handle.") % {"word": word[:60]}
            )
        handles[handle] = None
    return list(handles)


def handle_cells(data: bytes) -> list[str]:
    """The cells of a CSV's column of handles, its header left out.

    Raises ValidationError for what is no text.

    >>> handle_cells("nome;username\\nAna;@ana\\n".encode())
    ['@ana']
    >>> handle_cells(b"ana\\nrui.b\\n")
    ['ana', 'rui.b']
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\x00" in text:
        raise forms.ValidationError(gettext("This is not a CSV file."))
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        rows = [row for row in reader if any(row)]
    except csv.Error as error:
        raise forms.ValidationError(gettext("This is not a CSV file.")) from error
    if not rows:
        return []
    names = [cell.strip().lower() for cell in rows[0]]
    column = next((place for place, name in enumerate(names) if name in HANDLE_HEADERS), None)
    if column is not None:
        rows = rows[1:]
    place = column or 0
    return [row[place].strip() for row in rows if len(row) > place and row[place].strip()]


class WindowForm(forms.Form):
    """When messages may leave: always, or on some days between two times."""

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
    accounts = AccountsField(
        label=_("Send from"), queryset=SendingAccount.objects.none(), widget=_checks()
    )

    def __init__(self, *args: Any, tenant: Tenant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accounts = tenant.sending_accounts.exclude(state=SendingAccount.State.OFF)
        self.fields["accounts"].queryset = accounts.order_by("handle")  # type: ignore[attr-defined]  # a field of models
        for name in ("opens", "closes"):
            self.fields[name].widget.input_type = "time"

    @staticmethod
    def initial_of(campaign: Campaign) -> dict[str, Any]:
        """The form's values for a stored campaign."""
        window = campaign.window or {}
        return {
            "accounts": list(campaign.accounts.values_list("pk", flat=True)),
            "always": not window,
            "days": [str(day) for day in window.get("days", range(6))],
            "opens": window.get("from", "09:00"),
            "closes": window.get("to", "20:00"),
        }

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("always"):
            opens, closes = data.get("opens"), data.get("closes")
            if not data.get("days"):
                self.add_error("days", gettext("Choose at least one day."))
            if not opens or not closes or opens >= closes:
                self.add_error("closes", gettext("The window must end after it begins."))
        return data

    def window(self) -> dict[str, Any]:
        """The hours as a campaign stores them, when their own fields are right."""
        data = self.cleaned_data
        if data["always"]:
            return {}
        return {
            "days": sorted(int(day) for day in data["days"]),
            "from": f"{data['opens']:%H:%M}",
            "to": f"{data['closes']:%H:%M}",
        }

    def saved(self) -> dict[str, Any]:
        """The values to store, of a valid form."""
        return {"accounts": list(self.cleaned_data["accounts"]), "window": self.window()}


class ErrorLimitForm(forms.Form):
    """When it stops by itself because too much goes wrong."""

    error_percent = forms.IntegerField(
        label=_("Stop at this share of errors, %"),
        min_value=0,
        max_value=100,
        help_text=_("Of what was settled lately, from five errors on. 0: never."),
    )
    error_window_min = forms.IntegerField(
        label=_("Lately is the last … minutes"), min_value=5, max_value=24 * 60
    )


class PaceForm(ErrorLimitForm, WindowForm):
    """What of the pace may change while a campaign runs."""

    min_score = forms.IntegerField(
        label=_("Minimum score"),
        min_value=0,
        max_value=100,
        help_text=_("Checked again at the moment of sending."),
    )
    day_cap = forms.IntegerField(
        label=_("Messages a day, at most"),
        min_value=0,
        max_value=DAY_CAP_MAX,
        required=False,
        help_text=_(
            "Of this campaign, whatever its accounts could send. Empty: no cap of its own."
        ),
    )

    @staticmethod
    def initial_of(campaign: Campaign) -> dict[str, Any]:
        own = {name: getattr(campaign, name) for name in _PACE}
        return {**WindowForm.initial_of(campaign), **own}

    def saved(self) -> dict[str, Any]:
        own = {name: self.cleaned_data[name] for name in _PACE}
        return {**super().saved(), **own}


class ContentForm(WindowForm):
    """The second step of a draft: what it says, from whom and when."""

    text = forms.CharField(
        label=_("First message"),
        max_length=rendering.MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 7, "data-text": ""}),
    )

    @staticmethod
    def initial_of(campaign: Campaign) -> dict[str, Any]:
        """The form's values for a stored draft; a new one sends from every account that can."""
        step = campaign.steps.order_by("number", "-version").first()
        values = {**WindowForm.initial_of(campaign), "text": step.body if step else ""}
        if step is None:
            able = campaign.tenant.sending_accounts.filter(state=SendingAccount.State.ACTIVE)
            values["accounts"] = list(able.values_list("pk", flat=True))
        return values

    def clean_text(self) -> str:
        return parsed(str(self.cleaned_data["text"]))

    def saved(self) -> dict[str, Any]:
        return {**super().saved(), "text": self.cleaned_data["text"]}


class TextForm(forms.Form):
    """Another text for a campaign that has started, and who gets it: `waiting` people could."""

    text = forms.CharField(
        label=_("Text"),
        max_length=rendering.MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 7, "data-text": ""}),
    )
    move = forms.ChoiceField(
        label=_("Who gets it"), widget=forms.RadioSelect(attrs={"class": "form-check-input"})
    )

    def __init__(self, *args: Any, waiting: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        moved = ngettext(
            "Move %(n)s person who has not been written to yet",
            "Move %(n)s people who have not been written to yet",
            waiting,
        ) % {"n": intcomma(waiting)}
        stay = gettext("Everybody stays with the text they have; you can move them later")
        self.fields["move"].choices = [("yes", moved), ("no", stay)]  # type: ignore[attr-defined]  # a field with choices

    def clean_text(self) -> str:
        return parsed(str(self.cleaned_data["text"]))

    def saved(self) -> dict[str, Any]:
        """The values that `versions.change_text` takes, of a valid form."""
        return {
            "text": self.cleaned_data["text"],
            "move": self.cleaned_data["move"] == "yes",
        }


class TemplateForm(forms.Form):
    """A text of the library."""

    name = forms.CharField(label=_("Name"), max_length=80)
    body = forms.CharField(
        label=_("Text"),
        max_length=rendering.MAX_LENGTH,
        widget=forms.Textarea(attrs={"rows": 9, "data-text": ""}),
    )

    def clean_body(self) -> str:
        return parsed(str(self.cleaned_data["body"]))


def parsed(text: str) -> str:
    """The text itself. Raises ValidationError when it cannot be rendered."""
    try:
        rendering.parse(text)
    except rendering.BadTemplate as error:
        raise forms.ValidationError(error.sentence) from error
    return text


class ResolveForm(forms.Form):
    """What happened to a message whose outcome nobody knew."""

    outcome = forms.ChoiceField(
        choices=[("sent", _("It was sent")), ("send_again", _("Send again")), ("skip", _("Skip"))]
    )
