"""Addresses of leads, under /t/<tenant>/leads/."""

from __future__ import annotations

from django.urls import path

from leads.views import (
    bulk,
    detail,
    editing,
    exports,
    import_acts,
    import_steps,
    imports,
    listing,
    privacy,
    saved_views,
)

app_name = "leads"

urlpatterns = [
    path("", listing.lead_list, name="list"),
    path("new/", editing.lead_create, name="create"),
    path("<int:pk>/", detail.lead_detail, name="detail"),
    path("<int:pk>/peek/", detail.lead_peek, name="peek"),
    path("<int:pk>/edit/", editing.lead_edit, name="update"),
    path("<int:pk>/owner/", editing.lead_owner, name="owner"),
    path("<int:pk>/stop/", editing.lead_stop, name="stop"),
    path("<int:pk>/free/", editing.lead_free, name="free"),
    path("<int:pk>/erase/", privacy.lead_erase, name="erase"),
    path("<int:pk>/subject-export/", privacy.lead_subject_export, name="subject-export"),
    path("views/save/", saved_views.view_save, name="view-save"),
    path("views/<int:pk>/edit/", saved_views.view_edit, name="view-edit"),
    path("views/<int:pk>/update/", saved_views.view_update, name="view-update"),
    path("views/<int:pk>/delete/", saved_views.view_delete, name="view-delete"),
    path("bulk/<slug:kind>/", bulk.bulk_start, name="bulk"),
    path("export/", bulk.export_start, name="export"),
    path("jobs/", bulk.job_list, name="jobs"),
    path("jobs/<int:pk>/", bulk.job_detail, name="job"),
    path("jobs/<int:pk>/undo/", bulk.job_undo, name="job-undo"),
    path("jobs/<int:pk>/leads.csv", exports.export_file, name="export-file"),
    path("imports/", imports.import_list, name="imports"),
    path("imports/sample.csv", imports.import_sample, name="import-sample"),
    path("imports/<int:pk>/", imports.import_detail, name="import"),
    path("imports/<int:pk>/file/", import_steps.import_file, name="import-file"),
    path("imports/<int:pk>/columns/", import_steps.import_columns, name="import-columns"),
    path("imports/<int:pk>/leads/", imports.import_leads, name="import-leads"),
    path("imports/<int:pk>/rejects.csv", import_acts.import_rejects, name="import-rejects"),
    path("imports/<int:pk>/commit/", import_acts.import_commit, name="import-commit"),
    path("imports/<int:pk>/undo/", import_acts.import_undo, name="import-undo"),
    path("imports/<int:pk>/discard/", import_acts.import_discard, name="import-discard"),
]
