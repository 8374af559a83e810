"""Staff set-up of connections. The credential goes in and never comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from integrations.models import Connection
from tenants.admin import AuditedAdmin, TabularInline, TenantAdmin

TOKEN_MAX = 4_000


if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Connection]
else:
    ModelForm = forms.ModelForm


class ConnectionForm(ModelForm):
    """A connection, with a field for a new credential that is always shown empty."""

    token = forms.CharField(
        label=_("New token"),
        required=False,
        max_length=TOKEN_MAX,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text=_("Stored encrypted and never shown again. Empty: the present one stays."),
    )

    class Meta:
        model = Connection
        fields = ("tenant", "kind", "name", "external_id")


class ConnectionInline(TabularInline):
    """What there is; a connection is added and given its secret on its own page."""

    model = Connection
    extra = 0
    can_delete = False
    show_change_link = True
    fields = ("kind", "name", "external_id", "state", "secret_last_four", "secret_set_at")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


TenantAdmin.inlines += (ConnectionInline,)


@admin.register(Connection)
class ConnectionAdmin(AuditedAdmin):
    audit_name = "connection"
    form = ConnectionForm
    list_display = ("name", "tenant", "kind", "external_id", "state", "ending", "secret_set_at")
    list_filter = ("kind", "state")
    list_select_related = ("tenant",)
    search_fields = ("name", "external_id", "tenant__name", "tenant__slug")
    fields = (
        "tenant", "kind", "name", "external_id", "token", "ending", "secret_set_at",
        "state", "broken_code", "broken_at",
    )  # fmt: skip
    readonly_fields = ("ending", "secret_set_at", "state", "broken_code", "broken_at")

    @admin.display(description=_("token ends in"))
    def ending(self, obj: Connection) -> str:
        return f"…{obj.secret_last_four}" if obj.secret_last_four else "–"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # The ciphertext is bound to its tenant and row, so a connection cannot move.
        return (*self.readonly_fields, *(("tenant", "kind") if obj else ()))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if token := form.cleaned_data.get("token"):
            obj.set_secret(token=token)
            self.note(request, obj, "secret_set")
