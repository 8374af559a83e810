"""What can go wrong with a provider, in three kinds: later, never, perhaps done.

An adapter raises nothing else. The kind decides what the ledger does; `fault` says who must act.
"""

import re
from datetime import timedelta
from enum import StrEnum

DETAIL_LIMIT = 300
_HIDDEN = "[…]"
_SECRETS = re.compile(
    r"(?i)bearer\s+\S+|\b(?:EAA|IGQ|IGAA)\w{10,}|\bpit-[\w-]{8,}|\beyJ[\w-]{10,}\S*"
    r"|(?:access_token|client_secret|sessionid|apikey)=[^&\s]+"
)


class Fault(StrEnum):
    """Whose problem it is, and so who must act.

    `ACCOUNT`: this tenant's credential, connection or quota. `LEAD`: this recipient.
    `REQUEST`: what we sent. `PROVIDER`: their side is down, slow or throttling.
    """

    ACCOUNT = "account"
    LEAD = "lead"
    REQUEST = "request"
    PROVIDER = "provider"


class ProviderError(Exception):
    """A call that did not surely succeed.

    `code` is for programs and stays. `sentence` is an English msgid without variable parts:
    store it, and pass it through gettext where it is shown. `detail` is the provider's own words,
    at most 300 characters, for the technical fold-out. `status` is the HTTP status, if one came.
    """

    def __init__(
        self,
        code: str,
        sentence: str,
        *,
        fault: Fault,
        detail: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.sentence = sentence
        self.fault = fault
        self.detail = words(detail)
        self.status = status

    def __str__(self) -> str:
        return self.code if self.status is None else f"{self.code} (HTTP {self.status})"


class TryLater(ProviderError):
    """Surely not done; a repeat may succeed. `after`: not before that much time has passed."""

    def __init__(
        self,
        code: str,
        sentence: str,
        *,
        fault: Fault = Fault.PROVIDER,
        detail: str = "",
        status: int | None = None,
        after: timedelta | None = None,
    ) -> None:
        super().__init__(code, sentence, fault=fault, detail=detail, status=status)
        self.after = after


class Rejected(ProviderError):
    """Surely not done, and no repeat of the same call will help."""


class Unsure(ProviderError):
    """Perhaps done: the provider may have acted on the call. Never repeat it blindly."""


def words(text: object, *hide: str) -> str:
    """The provider's own words, fit to be stored: one line, cut, without secrets.

    `hide` lists what must not be kept because a provider may echo it: the token, the message.

    >>> words("Invalid  token\\nabc123", "abc123")
    'Invalid token […]'
    """
    line = str(text)
    for secret in hide:
        if secret:
            line = line.replace(secret, _HIDDEN)
    line = _SECRETS.sub(_HIDDEN, line[: DETAIL_LIMIT * 8])
    line = " ".join("".join(c if c.isprintable() else " " for c in line).split())
    return line if len(line) <= DETAIL_LIMIT else line[: DETAIL_LIMIT - 1] + "…"
