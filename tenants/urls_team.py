"""Addresses of the team, under /t/<tenant>/team/."""

from __future__ import annotations

from django.urls import path

from tenants.views import team

app_name = "team"

urlpatterns = [
    path("", team.team_list, name="list"),
    path("<int:pk>/role/", team.member_role, name="role"),
    path("<int:pk>/remove/", team.member_remove, name="remove"),
]
