"""`manage.py reset_demo`: forget the demo's data, so that the next `make run` begins anew."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection

from agenticos import running
from agenticos.clock import database_now
from agenticos.models import WorkerBeat

ALIVE = timedelta(seconds=30)


class Command(BaseCommand):
    help = "Remove the embedded database, uploaded files, local mail and the sandbox's journal."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--force",
            action="store_true",
            help="also empty a database that is not the embedded one",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        embedded = str(settings.DATABASES["default"]["NAME"]) == str(
            settings.VAR_DIR / "db.sqlite3"
        )
        if not embedded and not options["force"]:
            raise CommandError(
                "DATABASE_URL names a database that is not the embedded one, so nothing was "
                "removed. `make reset-demo FORCE=1` empties it all the same: every tenant in it."
            )
        try:
            with running.only_one(settings.VAR_DIR / "run.lock"):
                if not options["force"]:
                    self._refuse_while_workers_live()
                self._remove(embedded)
        except running.AlreadyRunning as error:
            raise CommandError(
                f"AgenticOS runs from this folder (process {error.pid}). Stop it with Ctrl-C first."
            ) from None
        self.stdout.write("The demo's data is gone. `make run` makes it anew.")

    def _refuse_while_workers_live(self) -> None:
        """Workers may have been started by themselves, with `make worker`."""
        try:
            alive = WorkerBeat.objects.filter(
                seen_at__gt=database_now() - ALIVE, stopped_at=None
            ).exists()
        except DatabaseError:
            return  # no such table, no such database: nobody works here
        if alive:
            raise CommandError(
                "Workers have shown a sign of life within 30 seconds. Stop them first; if they "
                "were killed, wait that long."
            )

    def _remove(self, embedded: bool) -> None:
        var = settings.VAR_DIR
        if embedded:
            connection.close()
            for suffix in ("", "-wal", "-shm", "-journal"):
                (var / f"db.sqlite3{suffix}").unlink(missing_ok=True)
        else:
            call_command("flush", interactive=False, verbosity=0)
        for folder in ("files", "mail"):
            shutil.rmtree(var / folder, ignore_errors=True)
        for file in ("sandbox.jsonl", "demo.pending"):
            (var / file).unlink(missing_ok=True)
