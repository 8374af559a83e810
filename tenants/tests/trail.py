"""A tenant's trail as tests write it, seal it, go through it, and tamper with it."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import past_the_rights
from tenants import audit, sealing
from tenants.models import AuditEntry

LATER = timedelta(minutes=1)


def write(tenant, number=1, by=None):
    """Write entries as the code does; their ids."""
    with scope.as_tenant(tenant):
        for place in range(number):
            audit.record(tenant, "tenant.edited", by=by, fields=["name"], place=place, ratio=0.5)
        return list(AuditEntry.objects.order_by("pk").values_list("pk", flat=True))[-number:]


def seal(tenant):
    with scope.as_tenant(tenant):
        return sealing.seal_chunk(now=timezone.now() + LATER)


def verify(tenant):
    with scope.as_tenant(tenant):
        return sealing.verify(tenant, now=timezone.now())


def sql(statement, *params):
    """What somebody does who is past the walls."""
    with past_the_rights(), connection.cursor() as cursor:
        cursor.execute(statement, params)


def drop(entry, *, seal_too=True):
    if seal_too:
        sql("DELETE FROM tenants_auditseal WHERE entry_id = %s", entry)
    sql("DELETE FROM tenants_auditentry WHERE id = %s", entry)
