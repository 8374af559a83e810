"""The web server as production starts it: slow clients do not stop it, and it ends cleanly."""

from __future__ import annotations

import gc
import http.client
import signal
import socket
import subprocess
import sys
import time

import pytest
import waitress
from django.core.management import call_command

from agenticos.tests.environment import ROOT, for_children

STALLED_BODIES = 120
HALF_HEADERS = 80
PATIENCE_S = 60  # of a loaded machine; an answer takes milliseconds


@pytest.fixture
def server(transactional_db):
    """`manage.py web` on the test's database: its port and its process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "web", f"--port={port}"], cwd=ROOT, env=for_children()
    )
    deadline = time.monotonic() + PATIENCE_S
    while not status(port, "/healthz"):
        assert process.poll() is None
        assert time.monotonic() < deadline
    yield port, process
    process.kill()
    process.wait()


def status(port: int, path: str) -> int:
    """What the server answers; 0 while nobody listens."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        link.request("GET", path, headers={"Host": "localhost", "Authorization": "Bearer aos_x"})
        return link.getresponse().status
    except ConnectionError:
        return 0
    finally:
        link.close()


@pytest.mark.slow
def test_two_hundred_slow_clients_do_not_stop_the_pages(server):
    port, process = server
    stalled = []
    try:
        for number in range(STALLED_BODIES + HALF_HEADERS):
            link = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            head = b"POST /api/v1/leads HTTP/1.1\r\nHost: localhost\r\n"
            if number < STALLED_BODIES:
                head += b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
            link.sendall(head)
            stalled.append(link)
        for _ in range(20):
            assert status(port, "/healthz") == 200
            assert status(port, "/api/v1/leads") == 401
        # They are all still there: none was turned away to make room.
        for link in stalled:
            link.setblocking(False)
            with pytest.raises(BlockingIOError):
                link.recv(1)
        # And the end does not wait for them.
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        for link in stalled:
            link.close()


def test_no_page_waits_while_all_that_was_loaded_is_looked_through_for_garbage(monkeypatch):
    frozen = []

    class Server:
        def run(self):
            frozen.append(gc.get_freeze_count())

    before, stop = gc.get_threshold(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(waitress, "create_server", lambda *_, **__: Server())
    try:
        call_command("web")
        assert frozen[0] > 10_000
        assert gc.get_threshold()[0] > before[0]
    finally:
        signal.signal(signal.SIGTERM, stop)
        gc.set_threshold(*before)
        gc.unfreeze()
