"""Bring all that a master key seals under the newest one; with --data, replace data keys too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.db.models import Q
from django.utils import timezone

from agenticos import scope
from integrations import rekeying
from tenants import crypto, second_factor
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Bring every tenant's keys, and the secrets of authenticator apps, under the first key of "
        "CREDENTIAL_KEYS. With --data give every tenant another data key as well, and seal its "
        "credentials anew. May be stopped and repeated, and run while the server runs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--data", action="store_true", help="replace the tenants' data keys")
        parser.add_argument(
            "--older-than",
            type=float,
            default=24,
            metavar="HOURS",
            help="with --data: leave keys that are younger, so that a repeated run goes on (24)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._broken: list[str] = []
        with scope.as_system("rotation of the master keys"):
            self._rotate()
            if options["data"]:
                self._replace(timedelta(hours=options["older_than"]))
        if self._broken:
            raise CommandError(
                f"Not done: {', '.join(self._broken)}. Keep the old master keys until all is."
            )

    def _rotate(self) -> None:
        done = factors = 0
        for pk, slug in Tenant.objects.order_by("pk").values_list("pk", "slug"):
            with self._naming(slug):
                done += crypto.rewrap_keys(pk)
        with self._naming("second factors"):
            factors = second_factor.reseal()
        self.stdout.write(f"{done} data keys wrapped anew, {factors} second-factor secrets sealed.")

    def _replace(self, age: timedelta) -> None:
        now = timezone.now()
        old = Q(data_key_at=None) | Q(data_key_at__lte=now - age)
        rows = Tenant.objects.filter(old).exclude(data_key=b"").order_by("pk")
        done = sealed = unreadable = 0
        for pk, slug in rows.values_list("pk", "slug"):
            with self._naming(slug), scope.as_tenant(pk):
                outcome = rekeying.replace_data_key(pk, now=timezone.now())
                done, sealed = done + 1, sealed + outcome.sealed
                unreadable += outcome.unreadable
        self.stdout.write(
            f"{done} data keys replaced, {sealed} credentials sealed anew, {unreadable} that never "
            "opened left."
        )

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Go on with the others after one whose key does not open, or whose rows stay locked."""
        try:
            yield
        except (crypto.CannotOpen, OperationalError) as error:
            self._broken.append(name)
            self.stderr.write(f"{name}: {error}")
