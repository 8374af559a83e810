"""What may come in: a file of leads."""

from __future__ import annotations

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext, gettext_lazy as _

from leads.importing import MAX_BYTES


class ImportForm(forms.Form):
    """A CSV file, and the name of the list its leads are put on."""

    file = forms.FileField(
        label=_("CSV file"),
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,text/csv"}),
        help_text=_("One lead per line, with a header line. It needs a column with the handle."),
    )
    list_name = forms.CharField(
        label=_("Put them on the list"),
        max_length=80,
        required=False,
        help_text=_("Campaigns can then write to this list. Empty: no list."),
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MAX_BYTES:
            raise forms.ValidationError(
                gettext("The file is larger than %(limit)s MB. Cut it into several files.")
                % {"limit": MAX_BYTES // 1024 // 1024}
            )
        return file
