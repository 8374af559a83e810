"""Addresses of the template library, under /t/<tenant>/templates/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import templates

app_name = "templates"

urlpatterns = [
    path("", templates.template_list, name="list"),
]
