"""The one URL table."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from agenticos import health, metrics, pages
from campaigns.views import home, search, tenant as tenant_pages
from tenants import oidc
from tenants.views import account, invitations

handler403 = "agenticos.pages.forbidden"
handler404 = "agenticos.pages.not_found"
handler500 = "agenticos.pages.server_error"

# One log-in and one change of passwords for all, with allauth's limits and second factor. Django's
# own forms stay closed to those who are logged in as well: there is no limit on what they ask.
admin.site.login = secure_admin_login(pages.to_admin)  # type: ignore[method-assign]  # replaced on purpose
admin.site.password_change = pages.to_password_change  # type: ignore[method-assign, assignment]  # replaced on purpose

urlpatterns: list[URLPattern | URLResolver] = [
    path("", pages.home, name="home"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.scrape, name="metrics"),
    path("preferences/", include("tenants.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
    path("accounts/sessions/<int:pk>/end/", account.session_end, name="session-end"),
    path("accounts/oidc/<slug:provider_id>/login/", oidc.login, name="openid_connect_login"),
    path(
        "accounts/oidc/<slug:provider_id>/callback/",
        oidc.callback,
        name="openid_connect_callback",
    ),
    path("invitations/<str:token>/", invitations.invitation, name="invitation"),
    path("api/", include("agenticos.api.urls")),
    path("admin/", admin.site.urls),
    path("t/<slug:tenant>/", home.tenant_home, name="tenant-home"),
    path("t/<slug:tenant>/today/", home.today, name="tenant-today"),
    path("t/<slug:tenant>/search/", search.search, name="tenant-search"),
    path("t/<slug:tenant>/stop/", tenant_pages.tenant_stop, name="tenant-stop"),
    path("t/<slug:tenant>/stop/lift/", tenant_pages.tenant_lift, name="tenant-lift"),
    path("t/<slug:tenant>/campaigns/", include("campaigns.urls")),
    path("t/<slug:tenant>/leads/", include("leads.urls")),
    path("t/<slug:tenant>/icp/", include("leads.urls_icp")),
    path("t/<slug:tenant>/templates/", include("campaigns.urls_templates")),
    path("t/<slug:tenant>/accounts/", include("campaigns.urls_accounts")),
    path("t/<slug:tenant>/integrations/", include("integrations.urls")),
    path("t/<slug:tenant>/audit/", include("campaigns.urls_trail")),
    path("t/<slug:tenant>/ops/", include("campaigns.urls_ops")),
    path("t/<slug:tenant>/team/", include("tenants.urls_team")),
    path("t/<slug:tenant>/notifications/", include("tenants.urls_notifications")),
    path("t/<slug:tenant>/settings/keys/", include("tenants.urls_keys")),
    path("t/<slug:tenant>/settings/", include("tenants.urls_settings")),
]
