"""Staff set-up of sending accounts: pace and caps. Their state moves through actions alone."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from campaigns.models import SendingAccount
from tenants.admin import AuditedAdmin


@admin.register(SendingAccount)
class SendingAccountAdmin(AuditedAdmin):
    audit_name = "account"
    list_display = ("handle", "tenant", "state", "day_cap", "hour_cap", "last_used_at")
    list_filter = ("state",)
    list_select_related = ("tenant",)
    search_fields = ("handle", "tenant__name", "tenant__slug")
    fields = (
        "connection", "handle", "day_cap", "hour_cap", "gap_min_s", "gap_max_s",
        "jitter_percent", "time_zone", "state", "block_code", "block_detail", "blocked_at",
        "last_used_at",
    )  # fmt: skip
    readonly_fields = ("state", "block_code", "block_detail", "blocked_at", "last_used_at")
    autocomplete_fields = ("connection",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, *(("connection",) if obj else ()))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        # The account belongs to the tenant of its connection; nobody is asked twice.
        if not change:
            obj.tenant_id = obj.connection.tenant_id
        super().save_model(request, obj, form, change)
