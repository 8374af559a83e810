"""Addresses of the ideal customer profile, under /t/<tenant>/icp/."""

from __future__ import annotations

from django.urls import path

from leads.views import icp, icp_versions

app_name = "icp"

urlpatterns = [
    path("", icp.icp_editor, name="editor"),
    path("effect/", icp.icp_effect, name="effect"),
    path("preview/", icp.icp_preview, name="preview"),
    path("draft/", icp.icp_draft_save, name="draft-save"),
    path("draft/discard/", icp.icp_draft_discard, name="draft-discard"),
    path("publish/", icp.icp_publish, name="publish"),
    path("progress/", icp_versions.icp_progress, name="progress"),
    path("versions/", icp_versions.icp_version_list, name="versions"),
    path("versions/compare/", icp_versions.icp_compare, name="compare"),
    path("versions/<int:number>/restore/", icp_versions.icp_restore, name="restore"),
]
