"""A channel for unit tests of the slice: it notes what was sent and answers as told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from campaigns.models import SendingAccount
from campaigns.sending import Slice
from integrations.errors import ProviderError
from integrations.ports import ChannelRules, DirectMessage, Receipt


class Wire:
    """Records every delivery; `answers[handle]` is a list of errors to raise before it says yes."""

    def __init__(self) -> None:
        self.sent: list[DirectMessage] = []
        self.by_account: list[tuple[str, str]] = []
        self.answers: dict[str, list[ProviderError]] = {}
        self.every: Callable[[DirectMessage], None] = lambda message: None
        self.prefix = "mid."  # of the ids it gives
        self._lock = threading.Lock()

    def of(self, account: SendingAccount) -> _End:
        return _End(self, account.handle)

    @property
    def handles(self) -> list[str]:
        return [message.to_handle for message in self.sent]

    def doubled(self) -> list[str]:
        """Keys that went out twice."""
        return [key for key, n in Counter(m.key for m in self.sent).items() if n > 1]


class _End:
    rules: ClassVar[ChannelRules] = ChannelRules(False, 1000, False)

    def __init__(self, wire: Wire, account: str) -> None:
        self.wire, self.account = wire, account

    def check(self) -> str:
        return self.account

    def send(self, message: DirectMessage) -> Receipt:
        self.wire.every(message)
        with self.wire._lock:
            waiting = self.wire.answers.get(message.to_handle) or self.wire.answers.get("*")
            if waiting:
                raise waiting.pop(0)
            self.wire.sent.append(message)
            self.wire.by_account.append((self.account, message.to_handle))
        return Receipt(f"{self.wire.prefix}{len(self.wire.sent)}")


def work(clock: Any, wire: Wire, *, budget_s: float = 20.0, **options: Any) -> Slice:
    """Run one slice over the wire; return it."""
    turn = Slice(clock, budget_s=budget_s, channel=wire.of, stop=lambda: False, **options)
    turn.run()
    return turn
