"""Sentry receives where and what kind, and nothing of anybody. A server on loopback listens."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from agenticos.tests.environment import run_manage

PLANTED = {
    "handle": "planted.handle.77",
    "email": "planted77@example.com",
    "phone": "+5511977776666",
    "text": "Planted text of a message",
    "token": "aos_planted77_" + "k" * 40,
    "cookie": "planted-session-cookie",
    "local": "planted local variable",
    "query": "plantedquery",
}

CRASH = """
import logging
from django.test import Client
from django.urls import path
from django.http import HttpResponse
from django.contrib.auth.decorators import login_not_required
from django.test.utils import override_settings
from agenticos import logs, scope, urls

storage = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
override_settings(STORAGES={"staticfiles": storage}).enable()

@login_not_required
def broken(request, word):
    local = %(local)r
    try:
        raise KeyError(%(handle)r)
    except KeyError as error:
        raise ValueError("cannot send to %(email)s: '%(text)s'") from error

urls.urlpatterns.append(path("broken/<slug:word>/", broken))
client = Client(raise_request_exception=False, SERVER_NAME="localhost")
client.cookies["harmless"] = %(cookie)r
client.post(
    "/broken/some-word/?q=%(query)s",
    {"handle": %(handle)r, "text": %(text)r, "phone": %(phone)r},
    headers={"Authorization": "Bearer %(token)s", "X-Request-Id": "abcdef0123456789"},
)
with scope.as_tenant(41), logs.bound(user=42, campaign=43, handle=%(handle)r):
    try:
        open("/nowhere/%(handle)s")
    except OSError:
        logging.getLogger("agenticos.x").exception("lead %%s is broken", %(handle)r)
import sentry_sdk
sentry_sdk.flush(5)
"""


@pytest.fixture
def listener():
    """A Sentry of one's own: its DSN, and what it received."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                raw = gzip.decompress(raw)
            received.append(str(self.headers).encode() + raw)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://public@127.0.0.1:{server.server_port}/1", received
    server.shutdown()
    server.server_close()


def events(received: list[bytes]) -> list[dict]:
    found = []
    for raw in received:
        for line in raw.splitlines():
            try:
                item = json.loads(line)
            except ValueError:
                continue
            if isinstance(item, dict) and "exception" in item:
                found.append(item)
    return found


def test_an_event_says_where_and_what_kind_and_nothing_of_anybody(listener):
    dsn, received = listener
    done = run_manage(
        *("shell", "-v0", "-c", CRASH % PLANTED),
        SENTRY_DSN=dsn,
        SENTRY_RELEASE="abc123",
        SENTRY_ENVIRONMENT="staging",
    )
    assert done.returncode == 0, done.stderr
    found = events(received)
    assert len(found) == 2, received
    web, logged = found
    assert [link["type"] for link in web["exception"]["values"]] == ["KeyError", "ValueError"]
    assert web["exception"]["values"][1]["stacktrace"]["frames"][-1]["function"] == "broken"
    assert (web["release"], web["environment"]) == ("abc123", "staging")
    assert web["tags"] == {"request_id": "abcdef0123456789"}
    assert logged["tags"] == {"tenant": "41", "campaign": "43"}
    assert logged["user"] == {"id": "42"}
    assert logged["logentry"] == {"message": "lead %s is broken"}
    everything = b"\n".join(received).decode()
    assert {name for name, value in PLANTED.items() if value in everything} == set()
    assert "some-word" not in everything  # a path may hold a secret link
    # Nor do the lines in the log; but a bare word in a sentence no net can tell from others, which
    # is why our own lines name ids alone.
    assert {name for name, value in PLANTED.items() if value in done.stderr} == {"handle"}


def test_without_a_dsn_nothing_is_sent_or_even_imported():
    code = "import sys; print('sentry_sdk' in sys.modules)"
    assert run_manage("shell", "-v0", "-c", code).stdout.split() == ["False"]


def test_a_listener_that_is_gone_costs_nothing():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code = "import sentry_sdk; sentry_sdk.capture_message('x'); print('on')"
    done = run_manage("shell", "-v0", "-c", code, SENTRY_DSN=f"http://k@127.0.0.1:{port}/1")
    assert (done.returncode, done.stdout.split()) == (0, ["on"])


@pytest.mark.parametrize("dsn", ["sentry.example.com/1", "https://host-without-key/1"])
def test_a_wrong_dsn_stops_the_start(dsn):
    done = run_manage("check", SENTRY_DSN=dsn)
    assert done.returncode == 1
    assert "SENTRY_DSN" in done.stderr
