"""Addresses of a person's own settings, outside any tenant."""

from __future__ import annotations

from django.urls import path

from tenants import views

urlpatterns = [
    path("theme/", views.set_theme, name="theme"),
    path("language/", views.set_language, name="language"),
]
