"""What may come in: the settings of a tenant, an invitation, a new person."""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth import password_validation
from django.core.validators import MaxValueValidator
from django.utils.translation import gettext_lazy as _

from tenants import custom_roles
from tenants.actions import EDITABLE
from tenants.models import CustomRole, Tenant, User
from tenants.retention_models import BOUNDS
from tenants.roles import GRANTABLE, NAMES, Role

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

    def __init__(
        self, *args: Any, read_only: bool = False, is_owner: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        zones = sorted(zoneinfo.available_timezones())
        self.fields["time_zone"].widget = forms.Select(choices=[(name, name) for name in zones])
        gap = self.fields["contact_gap_days"]
        gap.validators.append(MaxValueValidator(GAP_DAYS_MOST))
        gap.widget.attrs |= {"min": 0, "max": GAP_DAYS_MOST}
        for field in self.fields.values():
            field.disabled = read_only
        # Who may not manage members may not shut them out either.
        self.fields["require_mfa"].disabled = not is_owner


class KeepingForm(ModelForm):
    """How long things are kept; read-only for who may not say so."""

    class Meta:
        model = Tenant
        fields = tuple(BOUNDS)

    def __init__(self, *args: Any, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (least, most) in BOUNDS.items():
            self.fields[name].widget.attrs |= {"min": least, "max": most}
            self.fields[name].disabled = read_only


class InvitationForm(forms.Form):
    """Whom, and as what."""

    email = forms.EmailField(label=_("E-mail"), max_length=254)
    role = forms.ChoiceField(label=_("Role"), initial=Role.VIEWER)

    def __init__(self, *args: Any, roles: list[CustomRole], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["role"]
        field.choices = custom_roles.choices(roles)


class RoleForm(forms.Form):
    """A role of the tenant's own: its name, and what it may do beyond a viewer."""

    name = forms.CharField(label=_("Name"), max_length=custom_roles.NAME_MOST)
    rights = forms.MultipleChoiceField(
        label=_("Rights"),
        required=False,
        choices=lambda: [(right, NAMES[right]) for right in NAMES if right in GRANTABLE],
        widget=forms.CheckboxSelectMultiple({"class": "form-check-input"}),
    )


class NewPersonForm(forms.Form):
    """Who accepts an invitation without having an account."""

    name = forms.CharField(
        label=_("Your name"),
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        help_text=_("12 characters or more; a sentence is fine."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        user = User(email=self.email, name=self.cleaned_data.get("name", ""))
        password_validation.validate_password(password, user)
        return password
