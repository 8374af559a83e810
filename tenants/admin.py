"""Staff set-up of tenants and people. Leads, messages and replies are not to be seen here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _

from tenants import actions, audit, events, limits, second_factor
from tenants.admin_tools import Tool, ToolsAdmin
from tenants.freshness import ask_again, is_fresh
from tenants.models import Membership, Tenant, User, vouch_for_address
from tenants.roles import CUSTOM, Role

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
    TabularInline = admin.TabularInline[Any, Any]
    BaseUserAdmin = DjangoUserAdmin[Any]
else:  # generic to the type checker alone
    ModelForm, TabularInline = forms.ModelForm, admin.TabularInline
    BaseUserAdmin = DjangoUserAdmin

admin.site.site_header = _("AgenticOS administration")
admin.site.site_title = _("AgenticOS administration")
admin.site.index_title = _("Set-up")
# Rights come from memberships alone, so groups would promise what they do not keep.
admin.site.unregister(Group)


class AuditedAdmin(ToolsAdmin):
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

    def note(
        self, request: HttpRequest, obj: Any, verb: str, *, name: str = "", **data: Any
    ) -> None:
        action = f"{name or self.audit_name}.{verb}"
        audit.record(obj, action, by=self.by(request), by_staff=True, **data)


class MembershipForm(ModelForm):
    """A member. Who it is cannot be changed: that would be another member."""

    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"].disabled = self.instance.pk is not None
        if self.instance.role != CUSTOM:  # which of its own roles is the owner's to say
            role: Any = self.fields["role"]
            role.choices = Role.choices


class MembershipInline(TabularInline):
    model = Membership
    form = MembershipForm
    extra = 0
    autocomplete_fields = ("user",)
    fields = ("user", "role", "custom_role")
    readonly_fields = ("custom_role",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("custom_role")


class StandingFilter(admin.SimpleListFilter):
    """Active, stopped by a person, or suspended."""

    title = _("state")
    parameter_name = "state"
    KINDS: ClassVar[dict[str, Q]] = {
        "active": Q(suspended_at=None, stopped_at=None),
        "stopped": Q(suspended_at=None, stopped_at__isnull=False),
        "suspended": Q(suspended_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(STANDINGS.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(self.KINDS.get(self.value() or "", Q()))


STANDINGS = {
    "active": _("active"), "stopped": _("sending stopped"), "suspended": _("suspended"),
}  # fmt: skip


@admin.register(Tenant)
class TenantAdmin(AuditedAdmin):
    """A tenant and its members; `campaigns.admin_tenants` adds what higher apps know of it."""

    audit_name = "tenant"
    list_display: Any = ("name", "slug", "plan", "language", "standing", "members")
    search_fields = ("name", "slug", "plan")
    list_filter = (StandingFilter, "language", "plan")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("name", "slug", "language", "time_zone", "contact_gap_days")}),
        (
            _("Plan"),
            {
                "fields": limits.FIELDS,
                "description": _(
                    "Empty is no limit. A limit below what is there takes nothing away: it only "
                    "lets nothing be added."
                ),
            },
        ),
        (_("State"), {"fields": ("standing", "stopped_at", "suspended_at", "created_at")}),
    )
    readonly_fields: ClassVar[Any] = ("standing", "stopped_at", "suspended_at", "created_at")
    prepopulated_fields = {"slug": ("name",)}
    inlines: ClassVar[tuple[type[Any], ...]] = (MembershipInline,)  # higher apps add theirs

    def get_queryset(self, request: HttpRequest) -> Any:
        members = Membership.objects.filter(tenant=OuterRef("pk")).order_by().values("tenant")
        counted = Subquery(members.values(n=Count("pk")))
        return super().get_queryset(request).annotate(n_members=Coalesce(counted, 0))

    @admin.display(description=_("state"))
    def standing(self, obj: Tenant) -> str:
        kind = "suspended" if obj.suspended_at else "stopped" if obj.stopped_at else "active"
        return str(STANDINGS[kind])

    @admin.display(description=_("members"), ordering="n_members")
    def members(self, obj: Any) -> int:
        return int(obj.n_members)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        # An address that people know does not follow the name.
        return {} if obj else self.prepopulated_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deleting a tenant erases people's data and its keys: that has its own, slower way.
        return False

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if formset.model is not Membership:
            super().save_formset(request, form, formset, change)
            return
        by, now = self.by(request), timezone.now()
        formset.save(commit=False)
        # First who comes, so that an owner may be replaced in one go.
        for member in formset.new_objects:
            member.save()
            self.note(
                request, member, "created", name="membership", person=member.user_id,
                role=member.role,
            )  # fmt: skip
        for member, _fields in formset.changed_objects:
            stored = Membership.objects.get(pk=member.pk)
            actions.change_role(stored, member.role, by=by, now=now)
        for member in formset.deleted_objects:
            actions.remove_member(member, by=by, now=now)


class NewUserForm(AdminUserCreationForm):
    """A person is known by the e-mail."""

    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class UserAdmin(ToolsAdmin, BaseUserAdmin):
    """People. They belong to no single tenant, so the admin's own log keeps who changed them."""

    tools = (
        Tool(
            "reset_factor", _("Reset the second factor"), lambda obj: second_factor.has_any(obj.pk)
        ),
    )

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

    def tool_reset_factor(self, request: HttpRequest, obj: User) -> HttpResponse:
        """Let somebody in again who has lost it: asked first, and for a fresh log-in."""
        if not is_fresh(request):
            return ask_again(request)
        if request.method != "POST":
            return self.ask(
                request,
                obj,
                title=gettext("Reset the second factor of %(person)s") % {"person": obj},
                yes=gettext("Reset it"),
                danger=True,
                points=[
                    gettext("Make sure that it is this person who asks, and not by e-mail alone."),
                    gettext("Authenticator app, passkeys and recovery codes are removed."),
                    gettext("They are logged out everywhere, and told by mail."),
                    gettext("Until they set up a new one, their password alone opens."),
                ],
            )
        second_factor.reset(obj, by=self.by(request))
        events.note("auth.mfa_reset", request, person=obj.pk)
        self.log_change(request, obj, "Second factor reset.")
        messages.success(request, gettext("The second factor is reset."))
        try:
            second_factor.tell_of_reset(obj)
        except OSError:
            messages.warning(request, gettext("No mail could be sent: tell them yourself."))
        return self.back(obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Staff vouch for the address that they enter."""
        obj.email = obj.email.lower()
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            vouch_for_address(obj)

    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)
