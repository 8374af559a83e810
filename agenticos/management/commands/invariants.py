"""`manage.py invariants`: count what must never be, and exit 1 if it is."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from agenticos import invariants, scope


class Command(BaseCommand):
    help = "One line per invariant: its violations and how to look at them. Exit 1 if any."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--full", action="store_true", help="read every score's breakdown")

    def handle(self, *args: Any, **options: Any) -> None:
        with scope.as_system("invariants"):
            outcomes = invariants.check(full=options["full"])
        violated = sum(outcome.violations > 0 for outcome in outcomes)
        if options["json"]:
            answer = {
                "ok": not violated,
                "invariants": [outcome.to_json() for outcome in outcomes],
            }
            self.stdout.write(json.dumps(answer, indent=2))
        else:
            for outcome in outcomes:
                number = outcome.violations
                shown = f"{number}+" if number >= invariants.SHOWN else str(number)
                text = outcome.invariant.look if number else outcome.invariant.sentence
                self.stdout.write(
                    f"{'VIOLATED' if number else 'ok':<9}{shown:>5}  "
                    f"{outcome.invariant.name:<16} {text}"
                )
        if violated:
            sys.exit(1)
