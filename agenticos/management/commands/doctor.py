"""`manage.py doctor`: is everything there that AgenticOS needs, and what to do if not."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agenticos import doctor
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Check the configuration and every dependency; print the fix for each failure."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="also try this tenant's connections for real")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = None
        if slug := options["tenant"]:
            tenant = Tenant.objects.filter(slug=slug).first()
            if tenant is None:
                raise CommandError(f"There is no tenant {slug!r}.")
        findings = list(doctor.examine(tenant))
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            self.stdout.write(f"{finding.check:<{width}}  {finding.state:<5}  {finding.detail}")
            if finding.fix:
                self.stdout.write(f"{'':<{width}}         → {finding.fix}")
        if any(finding.state is doctor.State.FAIL for finding in findings):
            sys.exit(1)
