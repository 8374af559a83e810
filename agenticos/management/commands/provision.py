"""`manage.py provision FILE.json`: tenants and what belongs to them, from one declarative file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from agenticos import provisioning


class Command(BaseCommand):
    help = "Create or update tenants from a JSON file ('-': standard input). Harmless to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", help="the file, or - for standard input")
        parser.add_argument(
            "--schema", action="store_true", help="print the JSON Schema of the file and exit"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["schema"]:
            self.stdout.write(json.dumps(provisioning.schema(), indent=2, ensure_ascii=False))
            return
        name = options["file"]
        if not name:
            raise CommandError("Name a file, or - for standard input.", returncode=2)
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{name} cannot be read: {error}", returncode=2) from None
        try:
            result = provisioning.provision(provisioning.read(text), now=timezone.now())
        except provisioning.Invalid as error:
            lines = "\n".join(f"  {fault}" for fault in error.faults[: provisioning.SHOWN])
            more = len(error.faults) - provisioning.SHOWN
            rest = f"\n  … and {more} more" if more > 0 else ""
            raise CommandError(
                f"{name}: nothing was changed.\n{lines}{rest}", returncode=2
            ) from None
        for note in result.notes:
            self.stderr.write(note)
        self.stdout.write(json.dumps(result.to_json(), ensure_ascii=False))
