"""Addresses of a person's own settings, outside any tenant."""

from __future__ import annotations

from django.urls import path

from tenants.views import preferences

urlpatterns = [
    path("theme/", preferences.set_theme, name="theme"),
    path("language/", preferences.set_language, name="language"),
    path("keys/", preferences.set_keys, name="keys"),
]
