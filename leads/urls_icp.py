"""Addresses of the ideal customer profile, under /t/<tenant>/icp/."""

from __future__ import annotations

from django.urls import path

from leads.views import icp

app_name = "icp"

urlpatterns = [
    path("", icp.icp_editor, name="editor"),
]
