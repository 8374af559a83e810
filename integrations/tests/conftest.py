"""The sandbox, and a tenant's line to its CRM. Django's models are imported inside fixtures."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    from integrations.tests.live import LiveSandbox

    with LiveSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server, settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True
    settings.GHL_BASE_URL = server.ghl_url
    server.reset()
    return server


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Any]]:
    from integrations.tests.raw_server import RawServer

    servers: list[RawServer] = []

    def start(act: Callable[[socket.socket], None]) -> RawServer:
        servers.append(RawServer(act))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def line(db) -> Any:
    from integrations.tests.outbox import make_line

    return make_line()
