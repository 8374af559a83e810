"""Addresses of the team, under /t/<tenant>/team/."""

from __future__ import annotations

from django.urls import path

from tenants.views import team

app_name = "team"

urlpatterns = [
    path("", team.team_list, name="list"),
]
