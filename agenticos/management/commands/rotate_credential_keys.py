"""Bring all that a master key of CREDENTIAL_KEYS seals under the newest one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agenticos import scope
from tenants import crypto, second_factor
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Bring every tenant's data key, and the secrets of authenticator apps, under the first "
        "key of CREDENTIAL_KEYS. May be stopped and repeated, and run while the server runs."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        with scope.as_system("rotation of the master keys"):
            self._rotate()

    def _rotate(self) -> None:
        done, broken = 0, []
        for pk, slug in Tenant.objects.order_by("pk").values_list("pk", "slug"):
            try:
                done += crypto.rewrap_data_key(pk)
            except crypto.CannotOpen as error:
                broken.append(slug)
                self.stderr.write(f"{slug}: {error}")
        factors = 0
        try:
            factors = second_factor.reseal()
        except crypto.CannotOpen as error:
            broken.append("second factors")
            self.stderr.write(f"second factors: {error}")
        self.stdout.write(f"{done} data keys wrapped anew, {factors} second-factor secrets sealed.")
        if broken:
            raise CommandError(
                f"Does not open: {', '.join(broken)}. Keep the old master keys until all does."
            )
