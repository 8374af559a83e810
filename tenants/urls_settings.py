"""Addresses of the settings of a tenant, under /t/<tenant>/settings/."""

from __future__ import annotations

from django.urls import path

from tenants.views import settings

app_name = "settings"

urlpatterns = [
    path("", settings.tenant_settings, name="settings"),
    path("edit/", settings.tenant_edit, name="edit"),
    path("keeping/", settings.tenant_keeping, name="keeping"),
]
