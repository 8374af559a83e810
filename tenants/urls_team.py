"""Addresses of the team, under /t/<tenant>/team/."""

from __future__ import annotations

from django.urls import path

from tenants.views import custom_roles, invitations, team

app_name = "team"

urlpatterns = [
    path("", team.team_list, name="list"),
    path("invitations/", invitations.invite, name="invite"),
    path("invitations/<int:pk>/again/", invitations.send_again, name="invite-again"),
    path("invitations/<int:pk>/withdraw/", invitations.withdraw, name="invite-withdraw"),
    path("roles/add/", custom_roles.role_add, name="role-add"),
    path("roles/<int:pk>/", custom_roles.role_edit, name="role-edit"),
    path("roles/<int:pk>/delete/", custom_roles.role_delete, name="role-delete"),
    path("<int:pk>/role/", team.member_role, name="role"),
    path("<int:pk>/remove/", team.member_remove, name="remove"),
]
