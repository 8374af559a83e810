"""Addresses of the API keys, under /t/<tenant>/settings/keys/."""

from __future__ import annotations

from django.urls import path

from tenants.views import keys

app_name = "keys"

urlpatterns = [
    path("", keys.key_list, name="list"),
    path("add/", keys.key_add, name="add"),
    path("<int:pk>/revoke/", keys.key_revoke, name="revoke"),
    path("<int:pk>/rotate/", keys.key_rotate, name="rotate"),
]
