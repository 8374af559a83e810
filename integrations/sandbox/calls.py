"""A request to the sandbox, read whole, and how it is answered."""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from integrations.sandbox.state import Json


class Refusal(Exception):
    """The provider says no, in its own words."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Call:
    """One request, read whole."""

    __slots__ = ("body", "request", "token")

    def __init__(self, request: web.Request, raw: bytes) -> None:
        self.request = request
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        self.token = token.strip() if scheme.lower() == "bearer" else ""
        self.body: Any = None
        if raw:
            try:
                self.body = json.loads(raw)
            except ValueError:
                self.body = ValueError

    def part(self, name: str) -> str:
        return self.request.match_info[name]


Act = Callable[[Call], web.Response]


def answer(body: object, status: int = 200) -> web.Response:
    raw = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(body=raw, status=status, content_type="application/json")
