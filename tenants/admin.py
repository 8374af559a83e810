"""Staff set-up of tenants and people. Leads, messages and replies are not to be seen here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from tenants import audit
from tenants.models import Membership, Tenant, User, vouch_for_address

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    BaseUserAdmin = DjangoUserAdmin[Any]
else:  # generic to the type checker alone
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline
    BaseUserAdmin = DjangoUserAdmin

admin.site.site_header = _("AgenticOS administration")
admin.site.site_title = _("AgenticOS administration")
admin.site.index_title = _("Set-up")
# Rights come from memberships alone, so groups would promise what they do not keep.
admin.site.unregister(Group)


class AuditedAdmin(ModelAdmin):
    """Writes each change of a tenant's row to its audit trail, with names of fields only."""

    audit_name = ""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            # Only what the form changed: the rest of the row may have moved since it was read.
            columns = {field.name for field in obj._meta.concrete_fields}
            obj.save(update_fields=sorted(columns & set(form.changed_data)))
        else:
            super().save_model(request, obj, form, change)
        verb = "edited" if change else "created"
        self.note(request, obj, verb, fields=sorted(form.changed_data))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.note(request, obj, "deleted")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for obj in queryset:
            self.note(request, obj, "deleted")
        super().delete_queryset(request, queryset)

    def note(self, request: HttpRequest, obj: Any, verb: str, **data: Any) -> None:
        staff = cast(User, request.user)
        audit.record(obj, f"{self.audit_name}.{verb}", by=staff, by_staff=True, **data)


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)
    fields = ("user", "role")


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    audit_name = "tenant"
    list_display = ("name", "slug", "language", "time_zone", "stopped_at", "suspended_at")
    search_fields = ("name", "slug")
    list_filter = ("language",)
    fields = (
        "name", "slug", "language", "time_zone", "contact_gap_days", "suspended_at",
        "stopped_at", "created_at",
    )  # fmt: skip
    readonly_fields = ("stopped_at", "created_at")
    prepopulated_fields = {"slug": ("name",)}
    inlines: ClassVar[tuple[type[Any], ...]] = (MembershipInline,)  # higher apps add theirs

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deleting a tenant erases people's data and its keys: that has its own, slower way.
        return False

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        super().save_formset(request, form, formset, change)
        for member, fields in formset.changed_objects:
            self._membership(request, member, "edited", sorted(fields))
        for member in formset.new_objects:
            self._membership(request, member, "created", ["user", "role"])
        for member in formset.deleted_objects:
            self._membership(request, member, "deleted", [])

    def _membership(self, request: HttpRequest, row: Any, verb: str, fields: list[str]) -> None:
        data = {"role": row.role} if isinstance(row, Membership) else {}
        audit.record(
            row.tenant,
            f"{row._meta.model_name}.{verb}",
            by=cast(User, request.user),
            by_staff=True,
            fields=fields,
            person=getattr(row, "user_id", None),
            **data,
        )


class NewUserForm(AdminUserCreationForm):
    """A person is known by the e-mail."""

    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class UserAdmin(BaseUserAdmin):
    """People. They belong to no single tenant, so the admin's own log keeps who changed them."""

    add_form = NewUserForm
    ordering = ("email",)
    list_display = ("email", "name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (_("Person"), {"fields": ("name", "language", "theme")}),
        (_("Access"), {"fields": ("is_active", "is_staff", "is_superuser")}),
        (_("Times"), {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Staff vouch for the address that they enter."""
        obj.email = obj.email.lower()
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            vouch_for_address(obj)

    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)
