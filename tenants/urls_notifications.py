"""Addresses of the notifications, under /t/<tenant>/notifications/."""

from __future__ import annotations

from django.urls import path

from tenants.views import notifications

app_name = "notifications"

urlpatterns = [
    path("", notifications.notification_list, name="list"),
    path("<int:pk>/", notifications.notification_open, name="open"),
    path("read/", notifications.notification_read, name="read"),
    path("poll/", notifications.notification_poll, name="poll"),
]
