"""A person's rights: to be forgotten, and to see what is known of them."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from agenticos.errors import Refused
from agenticos.questions import Question
from integrations.views.shared import decide
from leads import erasing, subject
from leads.lead_forms import EraseForm
from leads.views.shared import go
from tenants.http import TenantRequest, fresh, requires


@requires("leads.erase")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def lead_erase(request: TenantRequest, pk: int) -> HttpResponse:
    """Erase a person for good; says what follows, and asks for the handle."""
    lead = get_object_or_404(request.tenant.leads.select_related("tenant"), pk=pk)
    page, handle = lead.get_absolute_url(), lead.handle
    if lead.is_erased:
        messages.info(request, _("This person was erased already."))
        return go(request, page)
    form = EraseForm(request.POST if request.method == "POST" else None, handle=handle)
    if request.method == "POST" and form.is_valid():
        try:
            erasing.erase_person(lead, by=request.user, now=timezone.now())
        except Refused as error:
            form.add_error("handle", str(error))
        else:
            messages.success(request, _("The person is erased. The campaigns' counts stay."))
            return go(request, page)
    title = _("Erase @%(handle)s for good?") % {"handle": handle}
    points = erasing.consequences(lead)
    return decide(request, Question(title, _("Erase"), points, page, "trash", danger=True), form)


@requires("leads.disclose")
@require_safe
@fresh
def lead_subject_export(request: TenantRequest, pk: int) -> HttpResponse:
    """What is known of one person, as a file for that person."""
    lead = get_object_or_404(request.tenant.leads.select_related("tenant"), pk=pk)
    found = subject.export_subject(lead, by=request.user, now=timezone.now())
    return HttpResponse(
        subject.as_json(found),
        content_type="application/json",
        headers={
            "Content-Disposition": f'attachment; filename="person-{lead.pk}.json"',
            "Cache-Control": "no-store",
        },
    )
