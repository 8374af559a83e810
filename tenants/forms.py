"""What may come in: the settings of a tenant."""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.validators import MaxValueValidator

from tenants.actions import EDITABLE
from tenants.models import Tenant

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Tenant]
else:  # generic to the type checker alone
    ModelForm = forms.ModelForm

GAP_DAYS_MOST = 3650


class TenantForm(ModelForm):
    """Name, zone, language and contact policy; read-only for who may not edit them."""

    class Meta:
        model = Tenant
        fields = EDITABLE

    def __init__(self, *args: Any, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones = sorted(zoneinfo.available_timezones())
        self.fields["time_zone"].widget = forms.Select(choices=[(name, name) for name in zones])
        gap = self.fields["contact_gap_days"]
        gap.validators.append(MaxValueValidator(GAP_DAYS_MOST))
        gap.widget.attrs |= {"min": 0, "max": GAP_DAYS_MOST}
        for field in self.fields.values():
            field.disabled = read_only
