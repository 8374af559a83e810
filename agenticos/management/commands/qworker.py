"""`qworker`: one crash-only cluster. Started by `runworkers`, not by people."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from agenticos.worker import cluster


class Command(BaseCommand):
    help = "One crash-only cluster of worker processes; `runworkers` starts it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("parent", type=int, help="the supervisor's process id")

    def handle(self, *args: Any, **options: Any) -> None:
        cluster.run(options["parent"])
