"""The tenant's page of the admin, whole: what it has, what it may, how it stands, what can be done.

One page sets a tenant up until its owner can log in and start a campaign.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, IntegerField, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext as _, gettext_lazy

from agenticos import scope
from agenticos.htmx import render_page
from agenticos.models import WorkerBeat
from campaigns import actions, ops, plan
from campaigns.models import Campaign, SendingAccount
from campaigns.views import ops as ops_page
from integrations.admin import ConnectionInline
from leads import actions as lead_actions
from leads.models import Icp
from tenants import actions as tenant_actions, limits
from tenants.admin import MembershipInline, TabularInline, TenantAdmin
from tenants.admin_tools import Tool
from tenants.models import Membership, Tenant

ICP_MAX = 200_000  # characters of a pasted configuration


class AccountInline(TabularInline):
    """What there is, with its limits; an account is added and changed on its own page."""

    model = SendingAccount
    extra = 0
    can_delete = False
    show_change_link = True
    fields = ("handle", "state", "day_cap", "hour_cap", "last_used_at", "block_code")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class IcpForm(forms.Form):
    """A configuration as JSON, pasted whole."""

    config = forms.CharField(
        label=gettext_lazy("Configuration (JSON)"),
        max_length=ICP_MAX,
        widget=forms.Textarea(attrs={"rows": 24, "cols": 80, "class": "vLargeTextField"}),
        help_text=gettext_lazy("The whole of it. What is left out takes its default."),
    )
    note = forms.CharField(
        label=gettext_lazy("What is new"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )

    def clean_config(self) -> dict[str, Any]:
        try:
            data = json.loads(self.cleaned_data["config"])
        except ValueError as error:
            raise forms.ValidationError(
                _("This is no JSON: %(error)s.") % {"error": error}
            ) from error
        if not isinstance(data, dict):
            raise forms.ValidationError(_("Expected is a JSON object: { … }."))
        return data


def _of_tenant(rows: QuerySet[Any], value: Any) -> Subquery:
    """`value` over a tenant's rows, beside each tenant of a list."""
    return Subquery(rows.filter(tenant=OuterRef("pk")).order_by().values("tenant").values(n=value))


class WholeTenantAdmin(TenantAdmin):
    """A tenant with all that staff set up."""

    list_display = (*TenantAdmin.list_display, "accounts", "running", "last_sent")
    inlines: ClassVar[tuple[type[Any], ...]] = (MembershipInline, ConnectionInline, AccountInline)
    fieldsets = (
        *TenantAdmin.fieldsets,
        (gettext_lazy("Ideal customer"), {"fields": ("live_icp",)}),
    )
    readonly_fields = (*TenantAdmin.readonly_fields, "live_icp")
    tools = (
        Tool("open", gettext_lazy("Open dashboard")),
        Tool("ops", gettext_lazy("Operations")),
        Tool("icp", gettext_lazy("Publish an ICP")),
        Tool("connection", gettext_lazy("Add a connection")),
        Tool("account", gettext_lazy("Add a sending account")),
        Tool("stop", gettext_lazy("Stop all sending"), lambda obj: obj.stopped_at is None),
        Tool("lift", gettext_lazy("Lift the stop"), lambda obj: obj.stopped_at is not None),
        Tool("suspend", gettext_lazy("Suspend"), lambda obj: obj.suspended_at is None),
        Tool("unsuspend", gettext_lazy("End suspension"), lambda obj: obj.suspended_at is not None),
    )

    # --- The list: one statement, however many tenants --------------------------------------

    def get_queryset(self, request: HttpRequest) -> Any:
        accounts = SendingAccount.objects.all()
        running = Campaign.objects.filter(state=Campaign.State.RUNNING)

        def number(rows: QuerySet[Any]) -> Coalesce:
            return Coalesce(_of_tenant(rows, Count("pk")), 0, output_field=IntegerField())

        return (
            super()
            .get_queryset(request)
            .annotate(
                n_able=number(accounts.filter(state=SendingAccount.State.ACTIVE)),
                n_blocked=number(accounts.filter(state=SendingAccount.State.BLOCKED)),
                n_running=number(running),
                last_used=_of_tenant(accounts, Max("last_used_at")),
            )
        )

    @admin.display(description=gettext_lazy("accounts"), ordering="n_blocked")
    def accounts(self, obj: Any) -> str:
        if not obj.n_blocked:
            return str(obj.n_able)
        return _("%(able)s · %(blocked)s blocked") % {
            "able": obj.n_able, "blocked": obj.n_blocked,
        }  # fmt: skip

    @admin.display(description=gettext_lazy("running campaigns"), ordering="n_running")
    def running(self, obj: Any) -> int:
        return int(obj.n_running)

    @admin.display(description=gettext_lazy("last send"), ordering="last_used")
    def last_sent(self, obj: Any) -> Any:
        return obj.last_used

    # --- The page ----------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("version in force"))
    def live_icp(self, obj: Tenant) -> str:
        found = Icp.objects.select_related("live").filter(tenant=obj.pk).first()
        if found is None:
            return _("None yet.")
        at = found.live.published_at
        text = _("Version %(number)s, since %(at)s") % {
            "number": found.live.number,
            "at": date_format(timezone.localtime(at), "SHORT_DATETIME_FORMAT") if at else "–",
        }
        return format_html('<a href="{}">{}</a>', reverse("icp:editor", args=[obj.slug]), text)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(self.readonly_fields)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.fieldsets[:2]  # a new one stands nowhere yet

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else [MembershipInline]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        now = timezone.now()
        if not change:
            super().save_model(request, obj, form, change)
            with scope.as_tenant(obj):
                lead_actions.ensure_icp(obj, by=self.by(request), now=now)
            return
        bought = {
            name: form.cleaned_data[name] for name in limits.FIELDS if name in form.changed_data
        }
        others = [name for name in form.changed_data if name not in bought]
        if others:
            obj.save(update_fields=others)
            self.note(request, obj, "edited", fields=sorted(others))
        if "time_zone" in others:
            with scope.as_tenant(obj):
                tenant_actions.forget_day_usage(obj)
        if bought:
            plan.edit_plan(obj, bought, by=self.by(request), now=now, by_staff=True)

    # --- Tools -------------------------------------------------------------------------------

    def tool_open(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        """To the dashboard; who is no member is told so here, as it answers them with 404."""
        if Membership.objects.filter(tenant=obj, user=self.by(request)).exists():
            return redirect(obj)
        messages.warning(
            request,
            _(
                "You are no member of “%(name)s”, so its pages are closed to you: being staff "
                "opens none. Add yourself as a member below if you are to see them."
            )
            % {"name": obj.name},
        )
        return self.back(obj)

    def tool_ops(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        """How its work goes, to be read: figures and states, with no lead and no text."""
        now = timezone.now()
        with scope.as_tenant(obj):
            context = ops_page.panel(obj, request.GET.get("tab", ""), now)
            beats = WorkerBeat.objects.filter(stopped_at=None, seen_at__gt=now - ops.BEAT_IS_OLD)
            context |= {
                "workspace": obj,
                "owners": list(beats.order_by("owner").values_list("owner", flat=True)),
                "address": request.path,
                "back": reverse("admin:tenants_tenant_change", args=[obj.pk]),
            }
            return render_page(request, "ops/staff.html", context, parts=["ops"])

    def tool_connection(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        return redirect(f"{reverse('admin:integrations_connection_add')}?tenant={obj.pk}")

    def tool_account(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        return redirect(f"{reverse('admin:campaigns_sendingaccount_add')}?of={obj.pk}")

    def tool_icp(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        form = IcpForm(request.POST or None, initial={"config": self._config(obj)})
        if request.method == "POST" and form.is_valid():
            with scope.as_tenant(obj):
                version = lead_actions.publish_icp(
                    obj, form.cleaned_data["config"], note=form.cleaned_data["note"],
                    by=self.by(request), now=timezone.now(),
                )  # fmt: skip
            number = {"number": version.number}
            messages.success(request, _("Version %(number)s is published.") % number)
            return self.back(obj)
        return self.ask(
            request,
            obj,
            title=_("Publish an ICP for %(name)s") % {"name": obj.name},
            yes=_("Publish"),
            points=[_("It becomes the next version, and all leads are scored anew under it.")],
            form=form,
        )

    @staticmethod
    def _config(obj: Tenant) -> str:
        found = Icp.objects.select_related("live").filter(tenant=obj.pk).first()
        return json.dumps(found.live.config if found else {}, ensure_ascii=False, indent=2)

    def tool_stop(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        if request.method != "POST":
            return self.ask(
                request,
                obj,
                title=_("Stop all sending of %(name)s?") % {"name": obj.name},
                yes=_("Stop all sending"),
                points=[
                    _("No message of any of its campaigns leaves until somebody lifts the stop."),
                    _("What is in flight still arrives."),
                ],
                danger=True,
            )
        with scope.as_tenant(obj):
            flying = actions.stop_tenant(obj, by=self.by(request), now=timezone.now())
        messages.success(request, _("Stopped.") + " " + actions.in_flight_sentence(flying))
        return self.back(obj)

    def tool_lift(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        if request.method != "POST":
            return self.ask(
                request,
                obj,
                title=_("Lift the stop of %(name)s?") % {"name": obj.name},
                yes=_("Lift the stop"),
                points=[_("Its running campaigns go on at once, at their usual pace.")],
            )
        with scope.as_tenant(obj):
            actions.lift_tenant_stop(obj, by=self.by(request), now=timezone.now())
        messages.success(request, _("The stop is lifted."))
        return self.back(obj)

    def tool_suspend(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        if request.method != "POST":
            return self.ask(
                request,
                obj,
                title=_("Suspend %(name)s?") % {"name": obj.name},
                yes=_("Suspend"),
                points=[
                    _("Its people and programs are shut out, with a page that says so."),
                    _("No message of it leaves. What is in flight still arrives."),
                    _("Nothing is deleted, and it can be ended at any time."),
                ],
                danger=True,
            )
        with scope.as_tenant(obj):
            tenant_actions.suspend(obj, by=self.by(request), now=timezone.now(), by_staff=True)
        messages.success(request, _("Suspended."))
        return self.back(obj)

    def tool_unsuspend(self, request: HttpRequest, obj: Tenant) -> HttpResponse:
        if request.method != "POST":
            return self.ask(
                request,
                obj,
                title=_("End the suspension of %(name)s?") % {"name": obj.name},
                yes=_("End suspension"),
                points=[_("Its people get in again, and its running campaigns go on.")],
            )
        now = timezone.now()
        with scope.as_tenant(obj):
            tenant_actions.unsuspend(obj, by=self.by(request), now=now, by_staff=True)
            plan.look_again(now)
        messages.success(request, _("The suspension is over."))
        return self.back(obj)


admin.site.unregister(Tenant)
admin.site.register(Tenant, WholeTenantAdmin)
