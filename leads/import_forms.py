"""What may come in through the import wizard: a file, how it is read, what its columns are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy as _, pgettext_lazy

from leads import importing
from leads.models import LeadImport

TARGET_LABELS: Final[dict[str, Promise]] = {
    "handle": _("Handle"),
    "profile_url": _("Profile address"),
    "name": _("Name"),
    "bio": _("Bio"),
    "followers": _("Followers"),
    "following": _("Following"),
    "posts": _("Posts"),
    "recent_posts": _("Recent posts"),
    "engagement": _("Engagement, %"),
    "is_private": _("Private"),
    "is_business": _("Business"),
    "is_verified": _("Verified"),
    "category": _("Category"),
    "frequency": _("Posting frequency"),
    "email": _("E-mail"),
    "phone": _("Phone"),
    "city": _("City"),
    "website": _("Website"),
    "ghl_id": _("GHL contact"),
}
# They say which lead a row is; there is nothing about them to overwrite.
KEYS: Final = frozenset({"handle", "profile_url"})
# By name, since a tab is no value for an address or a form.
DELIMITERS: Final[dict[str, tuple[str, Promise]]] = {
    "comma": (",", _("Comma ,")),
    "semicolon": (";", _("Semicolon ;")),
    "tab": ("\t", pgettext_lazy("a delimiter", "Tab")),
    "pipe": ("|", _("Bar |")),
}
ENCODINGS: Final = {
    "utf-8": "UTF-8",
    "cp1252": "Windows-1252",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
}


class UploadForm(forms.Form):
    """A CSV file."""

    file = forms.FileField(
        label=_("CSV file"),
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv"}),
        help_text=_("One lead per line, with a header line. It needs a column with the handle."),
        error_messages={"empty": _("The file is empty.")},
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > importing.MAX_BYTES:
            raise forms.ValidationError(
                gettext("The file is larger than %(limit)s MB. Cut it into several files.")
                % {"limit": importing.MAX_BYTES // 1024 // 1024}
            )
        return file


class DialectForm(forms.Form):
    """How a file is written."""

    delimiter = forms.ChoiceField(
        label=_("Cells are divided by"),
        choices=[(name, label) for name, (_sign, label) in DELIMITERS.items()],
    )
    encoding = forms.ChoiceField(label=_("Encoding"), choices=list(ENCODINGS.items()))

    @classmethod
    def of(cls, row: LeadImport) -> DialectForm:
        """The form that shows how an import's file is read now."""
        sign = row.dialect["delimiter"]
        names = [name for name, (mark, _label) in DELIMITERS.items() if mark == sign]
        return cls(initial={"delimiter": names[0], "encoding": row.dialect["encoding"]})

    def clean_delimiter(self) -> str:
        return DELIMITERS[self.cleaned_data["delimiter"]][0]


class ColumnsForm(forms.Form):
    """Which column is what, where the leads go, and what happens to known ones."""

    list_name = forms.CharField(
        label=_("Put them on the list"),
        max_length=80,
        required=False,
        help_text=_("Campaigns can then write to this list. Empty: no list."),
    )
    policy = forms.ChoiceField(
        label=_("What a row does to leads you already have"),
        choices=LeadImport.Policy.choices,
        help_text=_(
            "A column can have its own rule above. An empty cell never erases anything. "
            "Do-not-contact marks and owners stay whatever the file says."
        ),
    )

    def __init__(self, peek: importing.Peek, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._peek = peek
        choices = [("", _("Leave out")), *TARGET_LABELS.items()]
        for at, header in enumerate(peek.headers):
            self.fields[f"column_{at}"] = forms.ChoiceField(
                label=gettext("“%(column)s” is") % {"column": header[:80]},
                choices=choices,
                required=False,
            )
            self.fields[f"policy_{at}"] = forms.ChoiceField(
                label=gettext("“%(column)s” of leads you already have") % {"column": header[:80]},
                choices=[("", _("As set below")), *LeadImport.Policy.choices],
                required=False,
            )

    def columns(self) -> Iterator[dict[str, Any]]:
        """Each column of the file: its header, sample values and field."""
        for at, header in enumerate(self._peek.headers):
            field = self[f"column_{at}"]
            yield {
                "header": header,
                "samples": self._peek.samples(at),
                "field": field,
                "policy": self[f"policy_{at}"],
            }

    def clean(self) -> dict[str, Any]:
        taken: dict[str, str] = {}
        for at, header in enumerate(self._peek.headers):
            target = self.cleaned_data.get(f"column_{at}")
            if not target:
                continue
            if target in taken:
                self.add_error(
                    f"column_{at}",
                    gettext("“%(column)s” is taken for this already. Choose one of the two.")
                    % {"column": taken[target][:80]},
                )
            taken.setdefault(target, header)
        if not {"handle", "profile_url"} & taken.keys():
            self.add_error(
                None,
                gettext("Say which column holds the Instagram handle or the profile address."),
            )
        return self.cleaned_data

    @property
    def mapping(self) -> dict[int, str]:
        """Column number to field, of a valid form."""
        columns = range(len(self._peek.headers))
        found = {at: self.cleaned_data[f"column_{at}"] for at in columns}
        return {at: target for at, target in found.items() if target}

    @property
    def policies(self) -> dict[str, str]:
        """Field to policy where a column has one of its own, of a valid form."""
        own = {target: self.cleaned_data[f"policy_{at}"] for at, target in self.mapping.items()}
        return {name: policy for name, policy in own.items() if policy and name not in KEYS}


def initial_of(mapping: Mapping[int, str], policies: Mapping[str, str]) -> dict[str, str]:
    """The form's first values for a mapping."""
    columns = {f"column_{at}": target for at, target in mapping.items()}
    own = {f"policy_{at}": policies.get(target, "") for at, target in mapping.items()}
    return {**columns, **own}
