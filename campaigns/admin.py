"""Staff set-up of sending accounts: pace and caps. Their state moves through actions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy

from agenticos import scope
from campaigns import (
    accounts,
    admin_tenants as admin_tenants,  # registers the tenant's page
)
from campaigns.models import SendingAccount
from integrations.admin import answer_of
from integrations.models import Connection
from leads.identities import normalise_handle
from tenants.admin import AuditedAdmin
from tenants.admin_tools import Tool

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[SendingAccount]
else:
    ModelForm = forms.ModelForm


class AccountForm(ModelForm):
    """An account; it sends through a connection to Instagram that no other account uses."""

    class Meta:
        model = SendingAccount
        fields = ("connection", "handle", *accounts.PACE)

    def clean_connection(self) -> Connection:
        connection: Connection = self.cleaned_data["connection"]
        if connection.kind != Connection.Kind.INSTAGRAM:
            raise ValidationError(_("Choose a connection to Instagram."))
        return connection

    def clean_handle(self) -> str:
        handle = normalise_handle(self.cleaned_data["handle"])
        if handle is None:
            raise ValidationError(
                _("This is no Instagram handle: letters, digits, dots and underscores, up to 30.")
            )
        return str(handle)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        connection, handle = data.get("connection"), data.get("handle")
        if connection and handle:
            self.instance.tenant_id = connection.tenant_id
        tenant = self.instance.tenant_id
        same = SendingAccount.objects.filter(tenant=tenant, handle=handle)
        if tenant and handle and same.exclude(pk=self.instance.pk).exists():
            self.add_error("handle", _("There is an account with this handle already."))
        return data


@admin.register(SendingAccount)
class SendingAccountAdmin(AuditedAdmin):
    audit_name = "account"
    form = AccountForm
    list_display = (
        "handle", "tenant", "state", "block_code", "day_cap", "hour_cap", "last_used_at",
    )  # fmt: skip
    list_filter = ("state",)
    list_select_related = ("tenant",)
    search_fields = ("handle", "tenant__name", "tenant__slug")
    fields = (
        "connection", "handle", *accounts.PACE,
        "state", "block_code", "block_detail", "blocked_at", "last_used_at",
    )  # fmt: skip
    readonly_fields = ("state", "block_code", "block_detail", "blocked_at", "last_used_at")
    autocomplete_fields = ("connection",)
    tools = (Tool("test", gettext_lazy("Test connection")),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, *(("connection",) if obj else ()))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """From a tenant's page: its connection to Instagram that has no account yet."""
        tenant = request.GET.get("of", "")
        if not tenant.isdigit():
            return super().get_changeform_initial_data(request)
        free = Connection.objects.filter(
            tenant=int(tenant), kind=Connection.Kind.INSTAGRAM, sending_account=None
        ).first()
        return {"connection": free.pk, "handle": free.name} if free else {}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        pace = {name: form.cleaned_data[name] for name in accounts.PACE}
        with scope.as_tenant(obj.tenant_id):
            accounts.edit_account(obj, pace, by=self.by(request), now=timezone.now())
        if "handle" in form.changed_data:
            obj.handle = form.cleaned_data["handle"]
            obj.save(update_fields=["handle"])
            self.note(request, obj, "edited", fields=["handle"])

    def tool_test(self, request: HttpRequest, obj: SendingAccount) -> HttpResponse:
        """Call Instagram with the stored token; one that is refused blocks the account."""
        with scope.as_tenant(obj.tenant_id):
            said = answer_of(
                request,
                lambda: accounts.probe_credential(obj, by=self.by(request), now=timezone.now()),
            )
            obj.refresh_from_db()
        return self.ask(
            request,
            obj,
            title=_("Test the connection of %(name)s") % {"name": obj},
            yes=_("Test now"),
            points=[_("Instagram is called once with the stored token. Nothing is sent.")],
            facts=[
                (_("State"), obj.get_state_display()),
                (_("Reason"), obj.why or "–"),
                (_("Token"), f"…{obj.connection.secret_last_four}"),
            ],
            **said,
        )
