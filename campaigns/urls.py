"""Addresses of campaigns, under /t/<tenant>/campaigns/."""

from __future__ import annotations

from django.urls import path

from campaigns.views import (
    activity,
    acts,
    audience,
    cloning,
    drafts,
    forecast,
    gates,
    launch,
    leads,
    listing,
    panel,
    sequence,
    settings_tab,
)

app_name = "campaigns"

urlpatterns = [
    path("", listing.campaign_list, name="list"),
    path("new/", drafts.campaign_create, name="create"),
    path("new/count/", drafts.campaign_count, name="count"),
    path("leads/<int:pk>/next/", leads.lead_next, name="lead-next"),
    path("<int:pk>/", panel.campaign_detail, name="detail"),
    path("<int:pk>/audience/", audience.campaign_audience, name="audience"),
    path("<int:pk>/sequence/", sequence.campaign_sequence, name="sequence"),
    path("<int:pk>/sequence/<int:number>/", sequence.campaign_text, name="text"),
    path("<int:pk>/sequence/<int:number>/move/", sequence.campaign_move, name="text-move"),
    path("<int:pk>/accounts/", panel.campaign_accounts, name="accounts"),
    path("<int:pk>/activity/", activity.campaign_activity, name="activity"),
    path("<int:pk>/settings/", settings_tab.campaign_settings, name="settings"),
    path("<int:pk>/settings/name/", settings_tab.campaign_rename, name="rename"),
    path("<int:pk>/settings/pace/", settings_tab.campaign_pace, name="pace"),
    path("<int:pk>/edit/", drafts.campaign_update, name="update"),
    path("<int:pk>/message/", drafts.campaign_content, name="content"),
    path("<int:pk>/message/preview/", drafts.campaign_preview, name="preview"),
    path("<int:pk>/clone/", cloning.campaign_clone, name="clone"),
    path("<int:pk>/export/", cloning.campaign_export, name="export"),
    path("<int:pk>/samples/", cloning.campaign_samples, name="samples"),
    path("<int:pk>/skip/", acts.campaign_skip, name="skip"),
    path("<int:pk>/forecast/", forecast.campaign_forecast, name="forecast"),
    path("<int:pk>/gates/", gates.campaign_gates, name="gates"),
    path("<int:pk>/start/", launch.campaign_start, name="start"),
    path("<int:pk>/start/people/", launch.launch_audience, name="launch-audience"),
    path("<int:pk>/unschedule/", launch.campaign_unschedule, name="unschedule"),
    path("<int:pk>/pause/", acts.campaign_pause, name="pause"),
    path("<int:pk>/resume/", acts.campaign_resume, name="resume"),
    path("<int:pk>/stop/", acts.campaign_stop, name="stop"),
    path("<int:pk>/retry/", acts.campaign_retry, name="retry"),
    path("<int:pk>/messages/<int:message>/retry/", acts.message_retry, name="message-retry"),
    path("<int:pk>/messages/<int:message>/resolve/", acts.message_resolve, name="message-resolve"),
]
