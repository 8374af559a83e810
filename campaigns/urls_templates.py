"""Addresses of the template library, under /t/<tenant>/templates/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import templates

app_name = "templates"

urlpatterns = [
    path("", templates.template_list, name="list"),
    path("new/", templates.template_create, name="create"),
    path("preview/", templates.template_preview, name="preview"),
    path("<int:pk>/", templates.template_detail, name="detail"),
    path("<int:pk>/edit/", templates.template_update, name="update"),
    path("<int:pk>/archive/", templates.template_archive, name="archive"),
    path("<int:pk>/restore/", templates.template_restore, name="restore"),
]
