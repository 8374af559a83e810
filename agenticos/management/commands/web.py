"""`manage.py web`: the web server, with the limits that slow clients need, and a clean end."""

from __future__ import annotations

import logging
import signal
from argparse import ArgumentParser
from importlib import import_module
from types import FrameType
from typing import Any

import waitress
from django.conf import settings
from django.core.management.base import BaseCommand

from agenticos import garbage

logger = logging.getLogger(__name__)
THREADS = 8
# A stalled client holds a connection and no thread, so there may be many.
CONNECTIONS = 1000
# The largest file of leads that is taken is 64 MB, and a form has some words around it.
BODY_MAX = 70 * 1024 * 1024


class Command(BaseCommand):
    help = "Serve the pages and the API until SIGTERM or Ctrl-C; ends what it is serving first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        from agenticos.wsgi import application

        import_module(settings.ROOT_URLCONF)  # and all views
        garbage.tune(recycled=False)
        # waitress ends what it serves on SIGINT alone, and hosts send SIGTERM.
        signal.signal(signal.SIGTERM, _as_ctrl_c)
        server = waitress.create_server(
            application,
            host=options["host"],
            port=options["port"],
            threads=THREADS,
            connection_limit=CONNECTIONS,
            max_request_body_size=BODY_MAX,
            ident="",
            clear_untrusted_proxy_headers=False,  # who is trusted is Django's TRUSTED_PROXIES
        )
        logger.info("web.started")
        server.run()
        logger.info("web.stopped")


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
