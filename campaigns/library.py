"""The library of texts: what campaigns begin with. One verb each, as in `actions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Count, Max, Q
from django.utils.translation import gettext as _

from agenticos.errors import Refused
from agenticos.locking import locked
from campaigns import rendering
from campaigns.models import Campaign, Step, Template, TemplateVersion
from tenants import audit
from tenants.models import Tenant, User

# States in which a text may still leave.
AT_WORK = (Campaign.State.PREPARING, Campaign.State.RUNNING)


@dataclass(frozen=True, slots=True)
class Usage:
    """How many campaigns say a text word for word, and when one of them was last started."""

    campaigns: int = 0
    running: int = 0
    last_at: datetime | None = None


@transaction.atomic
def add_template(
    tenant: Tenant, *, name: str, body: str, by: User | None, now: datetime
) -> Template:
    """Add a text. Raises Refused for one that cannot be rendered, and for a name that is taken."""
    template = Template(tenant=tenant, name=name, body=body)
    _save(template)
    _keep(template, by=by)
    audit.record(template, "template.created", by=by)
    return template


@transaction.atomic
def edit_template(
    template: Template, *, name: str, body: str, by: User | None, now: datetime
) -> None:
    """Change a text: another body is its next version; campaigns keep the one they began with.

    Raises Refused as `add_template`.
    """
    row = locked(Template.objects.select_for_update(), template.pk)
    if (row.name, row.body) != (name, body):
        is_new_text = row.body != body
        row.name, row.body = name, body
        row.version += is_new_text
        _save(row)
        if is_new_text:
            _keep(row, by=by)
        audit.record(row, "template.updated", by=by, version=row.version)
    template.name, template.body = row.name, row.body
    template.version, template.updated_at = row.version, row.updated_at


@transaction.atomic
def archive_template(template: Template, *, by: User | None, now: datetime) -> None:
    """Offer a text no longer. What it is used in goes on."""
    if Template.objects.filter(pk=template.pk, archived_at=None).update(archived_at=now):
        template.archived_at = now
        audit.record(template, "template.archived", by=by)


@transaction.atomic
def restore_template(template: Template, *, by: User | None, now: datetime) -> None:
    """Offer an archived text again."""
    if Template.objects.filter(pk=template.pk, archived_at__isnull=False).update(archived_at=None):
        template.archived_at = None
        audit.record(template, "template.restored", by=by)


def origin_of(text: str) -> TemplateVersion | None:
    """The newest version in the library of the scope's tenant that says exactly this."""
    return TemplateVersion.objects.filter(body=text).order_by("-pk").first()


def usage(templates: Sequence[int]) -> dict[int, Usage]:
    """Where these texts are used, in one statement; a text that no campaign uses is left out."""
    rows = (
        Step.objects.filter(origin__template__in=templates)
        .values("origin__template")
        .annotate(
            all=Count("campaign", distinct=True),
            running=Count("campaign", distinct=True, filter=Q(campaign__state__in=AT_WORK)),
            last_at=Max("campaign__started_at"),
        )
        .order_by()
    )
    return {
        row["origin__template"]: Usage(row["all"], row["running"], row["last_at"]) for row in rows
    }


def _keep(template: Template, *, by: User | None) -> None:
    """Write down what the text says now, for good."""
    TemplateVersion.objects.create(
        tenant_id=template.tenant_id,
        template=template,
        number=template.version,
        body=template.body,
        created_by=by,
    )


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
