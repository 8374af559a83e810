"""`runworkers`: the supervised workers and the tick; what production starts beside the web."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from agenticos.postgres.starting import refuse_unsafe_role
from agenticos.worker.supervisor import Supervisor


class Command(BaseCommand):
    help = "Run the workers and the tick until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workers", type=int, default=settings.Q_WORKERS)

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_unsafe_role()
        sys.exit(Supervisor(options["workers"]).run())
