"""`manage.py verify_audit`: go through the chains of the audit trail, and exit 1 at a break."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from agenticos import scope
from tenants import sealing
from tenants.models import Tenant


class Command(BaseCommand):
    help = "One line per tenant: entries, sealed, unsealed, ok or the first break. Exit 1 if any."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", nargs="?", help="the slug of one tenant (all)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        outcomes = []
        for tenant in self._tenants(options["tenant"]):
            with scope.as_tenant(tenant):
                outcomes.append(sealing.verify(tenant, now=timezone.now()))
        good = all(outcome.ok for outcome in outcomes)
        if options["json"]:
            told = [{"ok": outcome.ok, **asdict(outcome)} for outcome in outcomes]
            self.stdout.write(json.dumps({"ok": good, "tenants": told}, indent=2))
        else:
            for outcome in outcomes:
                self.stdout.write(_line(outcome))
        if not good:
            sys.exit(1)

    def _tenants(self, slug: str | None) -> list[Tenant]:
        rows = Tenant.objects.order_by("slug")
        found = list(rows.filter(slug=slug) if slug else rows)
        if slug and not found:
            raise CommandError(f"There is no tenant {slug!r}.")
        return found


def _line(outcome: sealing.Outcome) -> str:
    counts = f"{outcome.entries} entries, {outcome.sealed} sealed, {outcome.unsealed} unsealed"
    if outcome.ok:
        return f"ok      {outcome.tenant}: {counts}"
    at = f"entry {outcome.entry}: " if outcome.entry else ""
    return f"BROKEN  {outcome.tenant}: {counts}; {at}{sealing.PROBLEMS[outcome.problem]}"
