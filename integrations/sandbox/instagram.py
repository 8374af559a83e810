"""Instagram as the sandbox plays it."""

from typing import Any

from aiohttp import web

from integrations.sandbox.calls import Act, Call, Refusal, answer
from integrations.sandbox.state import Json, State, new_id

MAX_TEXT_BYTES = 1000


class Instagram:
    """The Instagram Graph API's messaging, as much of it as a sender uses."""

    name = "instagram"

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[tuple[str, str, Act]]:
        node = r"/instagram/{version:v\d+\.\d+}/{account}"
        return [
            ("POST", f"{node}/messages", self.send),
            ("GET", node, self.read),
            ("*", "/instagram/{rest:.*}", self.unknown),
        ]

    def account(self, call: Call) -> str:
        return str(call.request.match_info.get("account", ""))

    def guard(self, call: Call) -> None:
        """What stands before every endpoint: the token."""
        if not call.token:
            raise self.refusal(400, 190, "An access token is required to request this resource.")
        if call.token.startswith("expired"):
            raise self.expired()
        if call.token.startswith("challenge"):
            raise self.challenge()
        _, bound, own = call.token.partition("@")
        if bound and own != self.account(call):
            raise self._no_object(call)

    def headers(self, call: Call) -> dict[str, str]:
        return {}

    def refusal(self, status: int, code: int, message: str, subcode: int | None = None) -> Refusal:
        error: Json = {"message": message, "type": "OAuthException", "code": code}
        if subcode is not None:
            error["error_subcode"] = subcode
        return Refusal(status, {"error": {**error, "fbtrace_id": new_id()}})

    def expired(self) -> Refusal:
        return self.refusal(
            400, 190, "Error validating access token: Session has expired.", subcode=463
        )

    def challenge(self) -> Refusal:
        return self.refusal(
            400, 190, "The user is enrolled in a blocking, logged-in checkpoint", subcode=459
        )

    def fault(self, status: int) -> Any:
        if status == 429:
            return self.refusal(429, 4, "(#4) Application request limit reached").body
        if status == 503:
            body: Json = self.refusal(503, 2, "Service temporarily unavailable").body
            body["error"]["is_transient"] = True
            return body
        if status >= 500:
            return "<html><body>Sorry, something went wrong.</body></html>"
        return self.refusal(status, 100, "(#100) Invalid parameter").body

    def send(self, call: Call) -> web.Response:
        body = call.body if isinstance(call.body, dict) else {}
        recipient, message = body.get("recipient"), body.get("message")
        to = recipient.get("id") if isinstance(recipient, dict) else None
        if not to or not isinstance(to, str):
            raise self.refusal(400, 100, "(#100) The parameter recipient is required")
        text = message.get("text") if isinstance(message, dict) else None
        if not text or not isinstance(text, str):
            raise self.refusal(400, 100, "(#100) The parameter message is required", 2018008)
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise self.refusal(
                400, 100, "(#100) Length of param message[text] must be less than or equal to 1000"
            )
        key = call.request.headers.get("Idempotency-Key", "")
        message_id = self.state.deliver(call.part("account"), to, text, key)
        return answer({"recipient_id": to, "message_id": message_id})

    def read(self, call: Call) -> web.Response:
        account = call.part("account")
        names = {"username": f"sandbox.{account}", "name": f"Sandbox {account}"}
        return answer({"id": account, **names})

    def unknown(self, call: Call) -> web.Response:
        raise self._no_object(call)

    def _no_object(self, call: Call) -> Refusal:
        node = self.account(call) or call.request.path
        return self.refusal(
            400,
            100,
            f"Unsupported request. Object with ID '{node}' does not exist, cannot be loaded due to "
            "missing permissions, or does not support this operation.",
            33,
        )
