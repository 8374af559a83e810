"""Addresses of operations, under /t/<tenant>/ops/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import ops

app_name = "ops"

urlpatterns = [
    path("", ops.ops_page, name="page"),
    path("check/", ops.ops_check, name="check"),
]
