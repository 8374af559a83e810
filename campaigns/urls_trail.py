"""Addresses of the audit trail, under /t/<tenant>/audit/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import trail

app_name = "audit"

urlpatterns = [
    path("", trail.trail, name="list"),
    path("export/", trail.trail_export, name="export"),
]
