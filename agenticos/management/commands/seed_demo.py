"""`manage.py seed_demo`: the demo's tenants, leads and campaign; `make run` does it by itself."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agenticos import demo


class Command(BaseCommand):
    help = "Make the demo's tenants acme and globex, with log-ins whose password everybody knows."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.IS_LOCAL:
            raise CommandError(
                "The demo's passwords are public, and ALLOWED_HOSTS names a public host: refused."
            )
        demo.seed()
        self.stdout.write("\n".join(demo.guide(8000)))
