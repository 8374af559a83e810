"""Addresses of sending accounts, under /t/<tenant>/accounts/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import sending_accounts

app_name = "accounts"

urlpatterns = [
    path("", sending_accounts.account_list, name="list"),
]
