"""A server of one's own bytes, and calls to it."""

import socket
import threading
from collections.abc import Callable

import pytest

from integrations import http
from integrations.errors import ProviderError
from integrations.http import Answer, call

KEPT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3\r\n{"a\r\n5\r\n": 1}\r\n0\r\nX-Trailer: 1\r\n\r\n'
)
OK = KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class RawServer:
    """Takes connections, reads one request from each, and hands the socket to `act`."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.act = act
        self.requests: list[bytes] = []
        self.read_first = True
        self.taken = 0
        self.over = threading.Event()
        self.closed = threading.Semaphore(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock:
            try:
                if self.read_first:
                    self.requests.append(sock.recv(65536))
                self.act(sock)
            except OSError:
                pass
        self.closed.release()

    def stop(self) -> None:
        self.over.set()
        self.listener.close()


def post(url: str, *, effect: bool = True, deadline_s: float = 5.0, **more) -> Answer:
    return call(
        http.pool(), "POST", url, json={"n": 1}, effect=effect, deadline_s=deadline_s, **more
    )


def error_of(url: str, **more) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        post(url, **more)
    return caught.value


def answer_all(sock: socket.socket) -> None:
    """Answer every request of a kept connection."""
    sock.sendall(KEPT)
    while sock.recv(65536):
        sock.sendall(KEPT)
