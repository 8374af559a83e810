"""Addresses of leads, under /t/<tenant>/leads/."""

from __future__ import annotations

from django.urls import path

from leads.views import detail, imports, listing

app_name = "leads"

urlpatterns = [
    path("", listing.lead_list, name="list"),
    path("<int:pk>/", detail.lead_detail, name="detail"),
    path("imports/", imports.import_list, name="imports"),
    path("imports/<int:pk>/", imports.import_detail, name="import"),
]
