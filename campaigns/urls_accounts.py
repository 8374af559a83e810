"""Addresses of sending accounts, under /t/<tenant>/accounts/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import accounts, sending_accounts, trials

app_name = "accounts"

urlpatterns = [
    path("", sending_accounts.account_list, name="list"),
    path("new/", sending_accounts.account_add, name="add"),
    path("test-message/", trials.trial, name="trial"),
    path("of/<int:connection>/", sending_accounts.account_of_connection, name="of-connection"),
    path("<int:pk>/", sending_accounts.account_detail, name="detail"),
    path("<int:pk>/edit/", sending_accounts.account_edit, name="edit"),
    path("<int:pk>/token/", sending_accounts.account_token, name="token"),
    path("<int:pk>/test/", sending_accounts.account_test, name="test"),
    path("<int:pk>/recipient/", trials.account_recipient, name="recipient"),
    path("<int:pk>/block/", accounts.account_block, name="block"),
    path("<int:pk>/unblock/", accounts.account_unblock, name="unblock"),
]
