"""Pages of no tenant: the way in, and the styled error pages."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from agenticos import scope
from tenants.models import Membership


def home(request: HttpRequest) -> HttpResponse:
    """To the person's only tenant, or to the choice between them."""
    with scope.as_system("memberships of the person who logged in"):
        tenants = [
            row.tenant
            for row in Membership.objects.filter(user=request.user.pk)
            .select_related("tenant")
            .order_by("tenant__name")
        ]
    if len(tenants) == 1:
        return redirect(tenants[0])
    if not tenants and getattr(request.user, "is_staff", False):
        return redirect("admin:index")
    return render(request, "home.html", {"tenants": tenants})


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The page for a form whose CSRF token is missing or old."""
    return render(request, "errors/csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "errors/404.html", status=404)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403; a PermissionDenied with a sentence shows it."""
    return render(request, "errors/403.html", {"sentence": str(exception)}, status=403)


def server_error(request: HttpRequest) -> HttpResponse:
    return render(request, "errors/500.html", status=500)
