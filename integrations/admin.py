"""Staff set-up of connections. The credential goes in and never comes out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_lazy

from agenticos import scope
from integrations import connecting
from integrations.connecting import NotTaken
from integrations.models import Connection
from tenants.admin import AuditedAdmin, TabularInline
from tenants.admin_tools import Tool

TOKEN_MAX = 4_000


if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Connection]
else:
    ModelForm = forms.ModelForm


class ConnectionForm(ModelForm):
    """A connection, with a field for a new credential that is always shown empty."""

    token = forms.CharField(
        label=gettext_lazy("New token"),
        required=False,
        max_length=TOKEN_MAX,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text=gettext_lazy(
            "Stored encrypted and never shown again. Empty: the present one stays."
        ),
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


def answer_of(request: HttpRequest, call: Callable[[], str]) -> dict[str, Any]:
    """What a provider answers to a test, for the page; without a POST nobody is called.

    The call is made outside any transaction.
    """
    if request.method != "POST":
        return {}
    try:
        name = call()
    except NotTaken as refused:
        return {"said": str(refused), "said_ok": False, "said_detail": refused.error.detail}
    return {"said": _("It works: the provider calls it “%(name)s”.") % {"name": name}} | {
        "said_ok": True
    }


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
    autocomplete_fields = ("tenant",)
    tools = (Tool("test", gettext_lazy("Test connection")),)

    @admin.display(description=gettext_lazy("token ends in"))
    def ending(self, obj: Connection) -> str:
        return f"…{obj.secret_last_four}" if obj.secret_last_four else "–"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        # The ciphertext is bound to its tenant and row, so a connection cannot move.
        return (*self.readonly_fields, *(("tenant", "kind") if obj else ()))

    def tool_test(self, request: HttpRequest, obj: Connection) -> HttpResponse:
        """Call the provider with the stored credential, and show what it says."""
        with scope.as_tenant(obj.tenant_id):
            said = answer_of(
                request, lambda: connecting.probe(obj, by=self.by(request), now=timezone.now())
            )
        trouble = connecting.meaning(obj.trouble_code, obj.trouble_sentence)
        return self.ask(
            request,
            obj,
            title=_("Test the connection %(name)s") % {"name": obj.name},
            yes=_("Test now"),
            points=[_("The provider is called once with the stored credential.")],
            facts=[
                (_("State"), obj.get_state_display()),
                (_("Token"), self.ending(obj)),
                (_("Worked last"), _at(obj.ok_at)),
                (_("Last trouble"), f"{_at(obj.trouble_at)} {trouble}"),
            ],
            **said,
        )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if token := form.cleaned_data.get("token"):
            obj.set_secret(token=token)
            self.note(request, obj, "secret_set")


def _at(moment: datetime | None) -> str:
    if moment is None:
        return "–"
    return date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")
