"""Addresses of campaigns, under /t/<tenant>/campaigns/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import accounts, acts, drafts, listing, panel

app_name = "campaigns"

urlpatterns = [
    path("", listing.campaign_list, name="list"),
    path("new/", drafts.campaign_create, name="create"),
    path("preview/", drafts.campaign_preview, name="preview"),
    path("<int:pk>/", panel.campaign_detail, name="detail"),
    path("<int:pk>/edit/", drafts.campaign_update, name="update"),
    path("<int:pk>/start/", acts.campaign_start, name="start"),
    path("<int:pk>/pause/", acts.campaign_pause, name="pause"),
    path("<int:pk>/resume/", acts.campaign_resume, name="resume"),
    path("<int:pk>/stop/", acts.campaign_stop, name="stop"),
    path("<int:pk>/retry/", acts.campaign_retry, name="retry"),
    path("<int:pk>/messages/<int:message>/retry/", acts.message_retry, name="message-retry"),
    path("<int:pk>/messages/<int:message>/resolve/", acts.message_resolve, name="message-resolve"),
    path("accounts/<int:pk>/block/", accounts.account_block, name="account-block"),
    path("accounts/<int:pk>/unblock/", accounts.account_unblock, name="account-unblock"),
]
