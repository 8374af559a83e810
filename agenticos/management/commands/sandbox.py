"""`manage.py sandbox`: the loopback providers, speaking the real wire formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Run the loopback providers (GoHighLevel, Instagram) until interrupted."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.SANDBOX_PORT)
        parser.add_argument("--state", type=Path, help="journal that survives a restart")
        parser.add_argument("--faults", type=Path, help="JSON list of fault rules to begin with")

    def handle(self, *args: Any, **options: Any) -> None:
        from integrations.sandbox.app import run

        run(options["port"], options["state"], options["faults"])
