"""`manage.py export_person TENANT HANDLE`: what is known of one person, as JSON."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agenticos import scope
from agenticos.clock import Clock
from leads import subject
from leads.identities import normalise_handle
from leads.models import Lead
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Print all that a tenant keeps of one person. Exit code 1 when nobody is found."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's address, such as acme")
        parser.add_argument("handle")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=2)
        with scope.as_tenant(tenant):
            handle = normalise_handle(options["handle"]) or ""
            lead = Lead.objects.select_related("tenant").filter(handle=handle).first()
            if lead is None:
                raise CommandError("There is nobody with this handle.")
            found = subject.export_subject(lead, by=None, now=Clock().now())
        self.stdout.write(subject.as_json(found))
