"""The template library: texts, their versions, where they are used, and what they say to whom."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Max
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from campaigns import library, prospects, rendering, sampling
from campaigns.forms import TemplateForm
from campaigns.models import Campaign, Template
from tenants.http import TenantRequest, requires
from tenants.roles import can

# As many campaigns as the page of a text names.
USES_MAX = 50


@requires("campaigns.view")
@require_safe
def template_list(request: TenantRequest) -> HttpResponse:
    """The texts, newest first, with how often each is used."""
    everything = request.tenant.templates.all()
    archived = "archived" in request.GET
    page = paging.page(
        everything.filter(archived_at__isnull=not archived),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    usage = library.usage([row.pk for row in page.rows])
    n_archived = everything.filter(archived_at__isnull=False).count()
    n_offered = everything.filter(archived_at=None).count()
    context = {
        "page": page,
        "rows": [(row, usage.get(row.pk, library.Usage())) for row in page.rows],
        "archived": archived,
        "n_archived": n_archived,
        "n_offered": n_offered,
        "any": bool(n_archived or n_offered),
        "may_read": can(request.membership, "messages.view_text"),
    }
    return render_page(request, "templates/list.html", context, parts=["templates"])


@requires("campaigns.view")
@require_safe
def template_detail(request: TenantRequest, pk: int) -> HttpResponse:
    """One text: where it is used, what it said before, and what it says to real people."""
    template = get_object_or_404(request.tenant.templates, pk=pk)
    may_read = can(request.membership, "messages.view_text")
    context: dict[str, Any] = {"template": template, "saved": template, "may_read": may_read}
    if may_read:
        context |= _preview(template.body, request.GET.get("n", ""))
    if request.htmx.target != "preview" or not may_read:
        uses = Campaign.objects.filter(steps__origin__template=template)
        versions = template.versions.select_related("created_by").order_by("-number")
        context |= {
            "usage": library.usage([template.pk]).get(template.pk, library.Usage()),
            "uses": uses.annotate(version_used=Max("steps__origin__number"))
            .select_related("counts", "tenant")
            .order_by("-pk")[:USES_MAX],
            "versions": versions if may_read else versions.defer("body"),
        }
    parts = ["preview"] if may_read else []
    return render_page(request, "templates/detail.html", context, parts=parts)


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def template_create(request: TenantRequest) -> HttpResponse:
    return _edit(request, None)


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def template_update(request: TenantRequest, pk: int) -> HttpResponse:
    return _edit(request, get_object_or_404(request.tenant.templates, pk=pk))


@requires("campaigns.edit")
@require_POST
def template_preview(request: TenantRequest) -> HttpResponse:
    """What the text in the form would say to one of twenty people. Stores nothing."""
    text = request.POST.get("body", "")
    context: dict[str, Any] = {
        "form": TemplateForm(initial={"name": request.POST.get("name", ""), "body": text}),
        "action": reverse("templates:create", args=[request.tenant.slug]),
        **_preview(text, request.POST.get("n", "")),
    }
    return render_page(request, "templates/form.html", context, parts=["preview"])


def _edit(request: TenantRequest, template: Template | None) -> HttpResponse:
    initial = {"name": template.name, "body": template.body} if template else None
    form = TemplateForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        by, now = request.user, timezone.now()
        try:
            if template is None:
                template = library.add_template(request.tenant, **form.cleaned_data, by=by, now=now)
            else:
                library.edit_template(template, **form.cleaned_data, by=by, now=now)
        except Refused as error:
            form.add_error("name" if error.code == "name_taken" else "body", str(error))
        else:
            messages.success(request, _("The text is saved."))
            return redirect("templates:detail", request.tenant.slug, template.pk)
    context = {
        "template": template,
        "action": request.path,
        "form": form,
        "usage": library.usage([template.pk]).get(template.pk) if template else None,
        **_preview(str(form["body"].value() or ""), ""),
    }
    return render_page(request, "templates/form.html", context)


def _preview(text: str, number: str) -> dict[str, Any]:
    """One of the samples, with its neighbours' numbers, and how often each value is known."""
    leads = prospects.newest()
    context: dict[str, Any] = {
        "fills": sampling.fills(leads),
        "total": len(leads),
        "samples": [],
        "sample": None,
        "problem": "",
    }
    if not text.strip():
        return context
    try:
        shown = sampling.samples(text, leads)
    except rendering.BadTemplate as error:
        return {**context, "problem": error.sentence}
    place = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 1
    place = min(max(place, 1), len(shown)) if shown else 1
    return {
        **context,
        "samples": shown,
        "sample": shown[place - 1] if shown else None,
        "number": place,
        "before": place - 1,
        "after": place + 1 if place < len(shown) else 0,
    }


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def template_archive(request: TenantRequest, pk: int) -> HttpResponse:
    template = get_object_or_404(request.tenant.templates, pk=pk)
    back = reverse("templates:detail", args=[request.tenant.slug, template.pk])
    if request.method != "POST":
        used = library.usage([template.pk]).get(template.pk, library.Usage())
        points = (
            _("It is no longer offered for new campaigns. You can bring it back at any time."),
            ngettext(
                "%(n)s campaign that says it goes on as it is.",
                "%(n)s campaigns that say it go on as they are.",
                used.campaigns,
            )
            % {"n": used.campaigns},
        )
        title = _("Archive “%(name)s”?") % {"name": template.name}
        question = Question(title, _("Archive"), points, back, "eye-off", target="#toasts")
        return ask(request, question)
    library.archive_template(template, by=request.user, now=timezone.now())
    messages.success(request, _("Archived."))
    target = reverse("templates:list", args=[request.tenant.slug])
    return HttpResponseClientRedirect(target) if request.htmx else redirect(target)


@requires("campaigns.edit")
@require_POST
def template_restore(request: TenantRequest, pk: int) -> HttpResponse:
    template = get_object_or_404(request.tenant.templates, pk=pk)
    library.restore_template(template, by=request.user, now=timezone.now())
    messages.success(request, _("It is offered again."))
    return redirect("templates:detail", request.tenant.slug, template.pk)
