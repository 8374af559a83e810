"""`manage.py erase_person TENANT HANDLE|EMAIL|PHONE`: remove a person's data, keep the ledger."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from agenticos import scope
from agenticos.clock import Clock
from agenticos.errors import Refused
from leads import erasing
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Erase a person from a tenant for good, and print a receipt as JSON. Exit code 1 when "
        "nobody is found or something that holds them is under way, 2 for an unknown tenant."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's address, such as acme")
        parser.add_argument("person", help="a handle, an e-mail address or a phone number")
        parser.add_argument(
            "--all", action="store_true", help="all leads with this e-mail or phone, if several"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=2)
        with scope.as_tenant(tenant):
            found = erasing.find(options["person"])
            if not found:
                raise CommandError("There is nobody with this handle, e-mail or phone.")
            if len(found) > 1 and not options["all"]:
                names = ", ".join(f"@{lead.handle}" for lead in found)
                raise CommandError(f"Several have it: {names}. Name one, or say --all.")
            receipts = []
            try:
                for lead in found:
                    receipt = erasing.erase_person(lead, by=None, now=Clock().now())
                    receipts.append(receipt.to_json())
            except Refused as error:
                raise CommandError(str(error)) from error
            finally:
                if receipts:
                    self.stdout.write(json.dumps(receipts, indent=2))
