"""Things that are over their time, and a sweep of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.core.files.base import ContentFile

from agenticos import invariants, scope
from agenticos.leasing import new_token
from agenticos.tests import factories
from integrations.models import Connection
from leads.models import (
    ImportedLead,
    ImportProblem,
    Lead,
    LeadImport,
)
from tenants import retention
from tenants.models import (
    ApiKey,
    IdempotencyRecord,
    Invitation,
    RetentionRun,
)

DAY = timedelta(days=1)


def sweep(tenant, now):
    """Run the tenant's sweep to its end; the report."""
    with scope.as_tenant(tenant):
        run, token = retention.run_of(tenant, due_at=now), new_token()
        assert retention.lease(run, token=token, now=now)
        while not retention.sweep_chunk(run, token=token, now=now):
            pass
        return RetentionRun.objects.get().report


def in_chunks_of(size, monkeypatch):
    small = [replace(step, size=size) for step in retention.steps()]
    monkeypatch.setattr(retention, "steps", lambda: small)
    return small


def make_import(tenant, state, at, *, rows=1):
    """An import of that time with a file, staged rows and problems."""
    with scope.as_tenant(tenant):
        ended = state in ("done", "undone") or (state == "failed")
        committed = at if state in ("done", "undone", "failed") else None
        row = LeadImport(
            tenant=tenant, file_name="x.csv", state=state, committed_at=committed,
            finished_at=at if ended else None,
        )  # fmt: skip
        row.file.save("x.csv", ContentFile(b"handle\nana\n"), save=False)
        row.save()
        LeadImport.objects.filter(pk=row.pk).update(created_at=at)
        for line in range(rows):
            ImportedLead.objects.create(lead_import=row, handle=f"h{line}", fate="same", at=at)
            ImportProblem.objects.create(
                lead_import=row, line=line, rejected=True, code="x", raw=["@ana"]
            )
        return row


def make_old_lead(tenant, handle, at, **fields):
    lead = factories.make_lead(tenant, handle, **fields)
    with scope.as_tenant(tenant):
        Lead.objects.filter(pk=lead.pk).update(created_at=at, updated_at=at)
    return lead


def plant(tenant, now, days):
    """One of each kind that was over `days` ago."""
    at = now - days * DAY
    make_import(tenant, "done", at)
    make_old_lead(tenant, f"lead.{days}", at)
    with scope.as_tenant(tenant):
        crm = factories.make_connection(tenant, Connection.Kind.GHL)
        factories.make_sync_item(
            crm, f"lead:9{days}", state="done", done_at=at, wanted={"handle": "ana"},
            done={"handle": "ana"},
        )  # fmt: skip
        Invitation.objects.create(email=f"{days}@example.com", nonce="n", created_at=at, sent_at=at)
        factories.make_key(tenant)
        IdempotencyRecord.objects.create(
            api_key=ApiKey.objects.last(), key="k", method="POST", path="/", body="0" * 64,
            status=201, answer="{}", created_at=at,
        )  # fmt: skip


def broken():
    with scope.as_system("test"):
        return {one.invariant.name for one in invariants.check(full=True) if one.violations}
