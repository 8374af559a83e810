"""What several pages of leads need."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.formats import number_format
from django_htmx.http import HttpResponseClientRedirect

from agenticos.htmx import render_page
from leads import scoring
from tenants.http import TenantRequest

NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def evidence_of(line: scoring.Line) -> str:
    """What was seen, a number as the reader's language writes it."""
    text = str(scoring.evidence_text(line))
    if not NUMBER.fullmatch(text):
        return text
    return number_format(Decimal(text), use_l10n=True, force_grouping=True)


def dialog(request: TenantRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A form as a dialog's content for htmx, whatever part asked; else as a page."""
    name = f"{template}#dialog-body" if request.htmx else template
    return render_page(request, name, context)


def go(request: TenantRequest, address: str) -> HttpResponse:
    """To another page, also from within a dialog."""
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)
