"""The bell: its list, its marks, and what pages ask for while they are open."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agenticos import paging
from agenticos.heartbeat import silence
from agenticos.htmx import render_page
from tenants import notifications
from tenants.http import TenantRequest, requires


@requires("tenant.view")
@require_safe
def notification_list(request: TenantRequest) -> HttpResponse:
    """The news, newest first; with `unread`, only what this member has not read."""
    only_unread = "unread" in request.GET
    find = notifications.unread if only_unread else notifications.visible
    page = paging.page(
        find(request.membership),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    context = {
        "page": page,
        "rows": notifications.as_news(page.rows),
        "only_unread": only_unread,
    }
    return render_page(request, "tenants/notifications.html", context, parts=["notifications"])


@requires("tenant.view")
@require_safe
def notification_open(request: TenantRequest, pk: int) -> HttpResponse:
    """Mark one as read and go where it leads."""
    row = get_object_or_404(notifications.visible(request.membership), pk=pk)
    if request.method == "GET":
        notifications.mark_read(request.membership, pk=pk, now=timezone.now())
    return redirect(notifications.address(row, request.tenant))


@requires("tenant.view")
@require_POST
def notification_read(request: TenantRequest) -> HttpResponse:
    """Mark all as read, for this member alone."""
    notifications.mark_read(request.membership, now=timezone.now())
    return redirect("notifications:list", request.tenant.slug)


@requires("tenant.view")
@require_safe
def notification_poll(request: TenantRequest) -> HttpResponse:
    """The bell as it is now, toasts for what came after `since`, and whether the workers rest."""
    since = request.GET.get("since", "")
    newest = int(since) if since.isascii() and since.isdigit() and len(since) < 19 else 0
    bell = notifications.bell(request.membership)
    context = {
        "bell": bell,
        "since": max(newest, bell.newest),
        "news": notifications.news_after(request.membership, newest)
        if bell.newest > newest
        else [],
        "silence": silence(timezone.now()),
    }
    return render(request, "includes/bell_poll.html", context)
