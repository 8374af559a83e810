"""Addresses of the team, under /t/<tenant>/team/."""

from __future__ import annotations

from django.urls import path

from tenants.views import invitations, team

app_name = "team"

urlpatterns = [
    path("", team.team_list, name="list"),
    path("invitations/", invitations.invite, name="invite"),
    path("invitations/<int:pk>/again/", invitations.send_again, name="invite-again"),
    path("invitations/<int:pk>/withdraw/", invitations.withdraw, name="invite-withdraw"),
    path("<int:pk>/role/", team.member_role, name="role"),
    path("<int:pk>/remove/", team.member_remove, name="remove"),
]
