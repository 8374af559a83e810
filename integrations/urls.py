"""Addresses of connections and the outbox, under /t/<tenant>/integrations/."""

from __future__ import annotations

from django.urls import path

from integrations import views

app_name = "integrations"

urlpatterns = [
    path("", views.connection_list, name="list"),
]
