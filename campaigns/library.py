"""The library of texts: what campaigns begin with. One verb each, as in `actions`."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from campaigns import rendering
from campaigns.models import Template
from tenants import audit
from tenants.models import Tenant, User


@transaction.atomic
def add_template(
    tenant: Tenant, *, name: str, body: str, by: User | None, now: datetime
) -> Template:
    """Add a text. Raises Refused for one that cannot be rendered, and for a name that is taken."""
    template = Template(tenant=tenant, name=name, body=body)
    _save(template)
    audit.record(template, "template.created", by=by)
    return template


@transaction.atomic
def edit_template(
    template: Template, *, name: str, body: str, by: User | None, now: datetime
) -> None:
    """Change a text; campaigns keep their own copy. Raises Refused as `add_template`."""
    if (template.name, template.body) == (name, body):
        return
    template.name, template.body = name, body
    _save(template)
    audit.record(template, "template.updated", by=by)


def _save(template: Template) -> None:
    try:
        rendering.parse(template.body)
    except rendering.BadTemplate as error:
        raise Refused(error.sentence, code="bad_template") from error
    try:
        with transaction.atomic():
            template.save()
    except IntegrityError as error:
        raise Refused(_("There is a text with this name already."), code="name_taken") from error
