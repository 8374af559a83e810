"""Wrap every tenant's data key with the newest master key of CREDENTIAL_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tenants import crypto
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Wrap every tenant's data key with the first key of CREDENTIAL_KEYS. One short "
        "transaction per tenant: may be stopped and repeated, and run while the server runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done, broken = 0, []
        for pk, slug in Tenant.objects.order_by("pk").values_list("pk", "slug"):
            try:
                done += crypto.rewrap_data_key(pk)
            except crypto.CannotOpen as error:
                broken.append(slug)
                self.stderr.write(f"{slug}: {error}")
        self.stdout.write(f"{done} data keys wrapped anew, {len(broken)} do not open.")
        if broken:
            raise CommandError("Keep the old master keys until every data key opens.")
