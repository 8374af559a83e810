"""`manage.py retention [--tenant SLUG] [--dry-run]`: remove what is over its time, and tell."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from agenticos import scope
from agenticos.leasing import new_token
from tenants import keeping, retention
from tenants.models import RetentionRun, Tenant


class Command(BaseCommand):
    help = (
        "Go through a tenant's data, or all tenants', and remove what is over its time; print what "
        "went as JSON, by kind. May be stopped and repeated, and run while the workers run. Exit "
        "code 1 when a worker is at a tenant, 2 for an unknown tenant."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="the tenant's address, such as acme; else all")
        parser.add_argument("--dry-run", action="store_true", help="count only; change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["tenant"]
        tenants = Tenant.objects.order_by("slug")
        found = list(tenants.filter(slug=slug) if slug else tenants)
        if slug and not found:
            raise CommandError(f"There is no tenant “{slug}”.", returncode=2)
        busy = []
        for tenant in found:
            with scope.as_tenant(tenant):
                report = _counted(tenant) if options["dry_run"] else _swept(tenant)
            if report is None:
                busy.append(tenant.slug)
            else:
                self._print(tenant.slug, report)
        if not slug and not options["dry_run"]:
            self._print("", _swept_access())
        if busy:
            raise CommandError(f"A worker is at it now: {', '.join(busy)}.")

    def _print(self, slug: str, report: dict[str, int]) -> None:
        self.stdout.write(json.dumps({"tenant": slug or None, "removed": report}))


def _counted(tenant: Tenant) -> dict[str, int]:
    return retention.due(tenant, timezone.now())


def _swept(tenant: Tenant) -> dict[str, int] | None:
    """What went; None when a worker has the tenant."""
    run = retention.run_of(tenant, due_at=timezone.now())
    token = new_token()
    if not retention.lease(run, token=token, now=timezone.now()):
        return None
    while not retention.sweep_chunk(run, token=token, now=timezone.now()):
        pass
    report: dict[str, int] = RetentionRun.objects.get(pk=run.pk).report
    return report


def _swept_access() -> dict[str, int]:
    total: dict[str, int] = {}
    while gone := keeping.sweep_access(timezone.now()):
        total = {kind: total.get(kind, 0) + gone.get(kind, 0) for kind in {*total, *gone}}
    return total
