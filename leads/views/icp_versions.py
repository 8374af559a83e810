"""The versions of the ideal customer profile: progress, history, differences, restoring."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from leads import icp_actions, scoring
from leads.models import IcpVersion
from leads.scoring.differences import Difference, differences
from tenants.http import TenantRequest, requires

SIZE = 25


class Progress(NamedTuple):
    """How far the leads are scored under a version that is to be in force."""

    number: int
    scored: int
    leads: int

    @property
    def percent(self) -> int:
        """0 to 99: at 100 the version is in force, and there is no progress any more."""
        return min(99, 100 * self.scored // (self.leads or 1))


class VersionRow(NamedTuple):
    """A version in the list, and what it changed in the one before it."""

    version: IcpVersion
    changes: list[Difference]


def scoring_progress(request: TenantRequest) -> Progress | None:
    """The version that is being scored, or None."""
    version = request.tenant.icp_versions.filter(state=IcpVersion.State.SCORING).first()
    if version is None:
        return None
    return Progress(version.number, version.scored, request.tenant.leads.count())


@requires("icp.view")
@require_safe
def icp_progress(request: TenantRequest) -> HttpResponse:
    """The bar alone; it asks again while it moves, and has the page renewed when it is done."""
    progress = scoring_progress(request)
    if progress is None and not request.htmx:
        return redirect("icp:editor", request.tenant.slug)
    response = render_page(
        request, "icp/progress.html", {"progress": progress, "tab": "editor"}, parts=["progress"]
    )
    if progress is None:
        response["HX-Refresh"] = "true"
    return response


@requires("icp.view")
@require_safe
def icp_version_list(request: TenantRequest) -> HttpResponse:
    """The newest first, each with what it changed."""
    page = paging.page(
        request.tenant.icp_versions.select_related("author"),
        ("-number",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=SIZE,
    )
    oldest = page.rows[-1].number if page.rows else 0
    older = request.tenant.icp_versions.filter(number__lt=oldest).order_by("-number").first()
    rows = []
    for version, before in zip(page.rows, [*page.rows[1:], older], strict=False):
        changes = differences(_config(before), _config(version)) if before else []
        rows.append(VersionRow(version, changes))
    context = {"page": page, "rows": rows, "tab": "versions", "progress": scoring_progress(request)}
    return render_page(request, "icp/versions.html", context, parts=["versions"])


@requires("icp.view")
@require_safe
def icp_compare(request: TenantRequest) -> HttpResponse:
    """What differs between two versions, `?old=3&new=5`."""
    old, new = (_chosen(request, name) for name in ("old", "new"))
    context = {
        "old": old,
        "new": new,
        "changes": differences(_config(old), _config(new)),
        "versions": request.tenant.icp_versions.order_by("-number")[:200],
        "tab": "versions",
    }
    return render_page(request, "icp/compare.html", context, parts=["changes"])


@requires("icp.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def icp_restore(request: TenantRequest, number: int) -> HttpResponse:
    """Ask for a note, then publish the old configuration as a new version."""
    version = get_object_or_404(request.tenant.icp_versions, number=number)
    note, error = _("As version %(number)d") % {"number": number}, ""
    if request.method == "POST":
        note = request.POST.get("note", "")
        try:
            new = icp_actions.restore(version, note=note, by=request.user, now=timezone.now())
        except Refused as refusal:
            error = str(refusal)
        else:
            messages.success(
                request, _("Version %(number)d is published.") % {"number": new.number}
            )
            return redirect("icp:versions", request.tenant.slug)
    live = request.tenant.icp_versions.filter(state=IcpVersion.State.LIVE).first()
    context = {
        "version": version,
        "note": note,
        "error": error,
        "changes": differences(_config(live), _config(version)) if live else [],
        "tab": "versions",
    }
    return render_page(request, "icp/restore.html", context)


def _chosen(request: TenantRequest, name: str) -> IcpVersion:
    number = request.GET.get(name, "")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Http404
    return get_object_or_404(request.tenant.icp_versions, number=int(number))


def _config(version: IcpVersion) -> scoring.IcpConfig:
    return scoring.IcpConfig.from_json(version.config)
