"""Instagram messaging over the official Graph API.

Source: Meta, "Instagram API, Messaging" and "Error codes" of the Messenger platform, v25.0.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import httpx
from django.utils.translation import gettext_noop as _

from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure, words
from integrations.http import Headers, call, retry_after
from integrations.ports import ChannelRules, DirectMessage, Receipt

MAX_BYTES: Final = 1000


class Row(NamedTuple):
    """What an error of the provider means to us."""

    kind: type[TryLater] | type[Rejected]
    fault: Fault
    code: str
    sentence: str
    after: timedelta | None = None


TEMPORARY = Row(
    TryLater,
    Fault.PROVIDER,
    "provider_temporary",
    _("Instagram reports a temporary fault. It will be tried again by itself."),
)
RATE_LIMITED = Row(
    TryLater,
    Fault.PROVIDER,
    "rate_limited",
    _("Instagram asks for a slower pace. Sending goes on by itself after a while."),
)
BOTHERSOME = Row(
    Rejected,
    Fault.ACCOUNT,
    "behaviour_flagged",
    _(
        "Instagram finds this account's messages bothersome. "
        "Stop sending from it for some days and make the texts more personal."
    ),
)
WINDOW_CLOSED = Row(
    Rejected,
    Fault.LEAD,
    "window_closed",
    _(
        "This person has not written to the account in the last 24 hours, so Instagram does not "
        "deliver. Wait for a message from them, or write by hand."
    ),
)
UNAVAILABLE = Row(
    Rejected,
    Fault.LEAD,
    "person_unavailable",
    _("This person cannot or does not want to receive messages. Choose another channel for them."),
)
ACTION_BLOCKED = Row(
    Rejected,
    Fault.ACCOUNT,
    "action_blocked",
    _(
        "Instagram has blocked this account from sending for a while. "
        "Open the app, read its notice, and let the account rest before you unblock it here."
    ),
)
NOT_LINKED = Row(
    Rejected,
    Fault.ACCOUNT,
    "account_not_linked",
    _(
        "The Instagram account is not linked to its Page, or two-factor log-in is missing. "
        "Repair that at Meta, then connect the account again."
    ),
)
NO_PERMISSION = Row(
    Rejected,
    Fault.ACCOUNT,
    "permission_missing",
    _(
        "The app may not send messages for this account. "
        "Connect the account again and grant every permission it asks for."
    ),
)
ACCESS_OFF = Row(
    Rejected,
    Fault.ACCOUNT,
    "message_access_off",
    _(
        "The account's owner has switched off access to messages for apps. "
        "Switch it on in Instagram's settings, under messages, connected tools."
    ),
)
NOT_FOUND = Row(
    Rejected,
    Fault.LEAD,
    "person_not_found",
    _(
        "Instagram knows no such person for this account: the profile is gone, "
        "or the person never wrote to it."
    ),
)
ACCOUNT_NOT_FOUND = Row(
    Rejected,
    Fault.ACCOUNT,
    "account_not_found",
    _(
        "The token does not reach the Instagram account of this connection. "
        "Check the account's id, or connect the account again."
    ),
)
MESSAGE_REFUSED = Row(
    Rejected,
    Fault.REQUEST,
    "message_refused",
    _("Instagram refuses this message as it is. Check the template's text and links."),
)
REPLY_USED = Row(
    Rejected,
    Fault.LEAD,
    "private_reply_used",
    _("A private reply to this comment is no longer possible. Wait for the person to write."),
)
THREAD_TAKEN = Row(
    TryLater,
    Fault.LEAD,
    "thread_taken",
    _(
        "Another app holds this conversation. It will be tried again in some hours; "
        "answer there by hand if it is urgent."
    ),
    timedelta(hours=4),
)
SESSION_INVALID = Row(
    Rejected,
    Fault.ACCOUNT,
    "session_invalid",
    _("The account's token has expired or was revoked. Connect the account again."),
)
CHALLENGE = Row(
    Rejected,
    Fault.ACCOUNT,
    "challenge",
    _(
        "Instagram asks the owner to confirm that the account is theirs. "
        "Log in to the app, pass the check, then connect the account again."
    ),
)
NO_CONSENT = Row(
    Rejected,
    Fault.LEAD,
    "consent_missing",
    _("Instagram shows this person's profile only after they have written to the account."),
)
NOT_VISIBLE = Row(
    Rejected,
    Fault.LEAD,
    "profile_not_visible",
    _("This profile is private, personal or gone, so Instagram gives no data about it."),
)
UNKNOWN = Row(
    Rejected,
    Fault.REQUEST,
    "request_refused",
    _(
        "Instagram refused the request for a reason this system does not know. "
        "Read the technical detail, and report it to the system's operator."
    ),
)

# By code and subcode first, then by code alone; the HTTP status says little here.
BY_SUBCODE: Final[dict[tuple[int, int], Row]] = {
    (613, 2018338): BOTHERSOME,
    (613, 2534040): RATE_LIMITED,
    (10, 2534022): WINDOW_CLOSED,
    (10, 2018278): WINDOW_CLOSED,
    (10, 2018065): WINDOW_CLOSED,
    (10, 2018108): UNAVAILABLE,
    (551, 1545041): UNAVAILABLE,
    (200, 1545041): UNAVAILABLE,
    (10, 1893063): ACTION_BLOCKED,
    (100, 2534029): ACTION_BLOCKED,
    (10, 2534077): NOT_LINKED,
    (100, 2534013): NOT_LINKED,
    (200, 2018028): NO_PERMISSION,
    (200, 2534041): ACCESS_OFF,
    (100, 2018001): NOT_FOUND,
    (100, 2534014): NOT_FOUND,
    (100, 33): NOT_FOUND,
    (100, 2534015): MESSAGE_REFUSED,
    (100, 2018109): MESSAGE_REFUSED,
    (100, 2018047): MESSAGE_REFUSED,
    (100, 2018008): MESSAGE_REFUSED,
    (100, 2534025): REPLY_USED,
    (100, 2534037): THREAD_TAKEN,
    (100, 2018300): THREAD_TAKEN,
    (100, 2018321): THREAD_TAKEN,
    (10, 2018300): THREAD_TAKEN,
    (10, 2018321): THREAD_TAKEN,
    (190, 459): CHALLENGE,
    (110, 2207013): NOT_VISIBLE,
}
BY_CODE: Final[dict[int, Row]] = {
    **dict.fromkeys((1, 2, 1200), TEMPORARY),
    **dict.fromkeys((4, 17, 32, 341, 613, *range(80001, 80015)), RATE_LIMITED),
    551: UNAVAILABLE,
    **dict.fromkeys((368, 2022), ACTION_BLOCKED),
    **dict.fromkeys((3, 10, *range(200, 300)), NO_PERMISSION),
    230: NO_CONSENT,
    100: MESSAGE_REFUSED,
    10903: REPLY_USED,
    **dict.fromkeys((2018300, 2018321), THREAD_TAKEN),
    **dict.fromkeys((102, 190), SESSION_INVALID),
    110: NOT_VISIBLE,
}
_INCOMPLETE = _(
    "Instagram's answer names no message, so nobody knows whether it was delivered. "
    "Look at the conversation before you repeat it."
)
_OUTAGE = _(
    "Instagram reported a fault of its own, so nobody knows whether the message was delivered. "
    "Look at the conversation before you repeat it."
)


class InstagramGraph:
    """One professional account, written for through the official API. Implements `Channel`."""

    rules: ClassVar[ChannelRules] = ChannelRules(
        opens_conversation=False, max_bytes=MAX_BYTES, can_look_up=False
    )

    def __init__(
        self,
        wire: httpx.BaseTransport,
        *,
        base_url: str,
        account_id: str,
        token: str,
        deadline_s: float,
    ) -> None:
        self.wire = wire
        self.account_id = account_id
        self.deadline_s = deadline_s
        self._token = token
        self._headers = {"Authorization": f"Bearer {token}"}
        # Quoted, so that an id typed into a form stays one segment of the path.
        self._node = f"{base_url.rstrip('/')}/{quote(account_id, safe='')}"

    def send(self, message: DirectMessage) -> Receipt:
        """Send one text; to the Instagram-scoped id when it is known, else to the handle.

        Raises TryLater, Rejected, Unsure. Source: operation "Send a text message".
        """
        if len(message.text.encode(errors="replace")) > MAX_BYTES:
            raise Rejected(
                "text_too_long",
                _("The text is longer than Instagram's 1,000 bytes. Shorten the template."),
                fault=Fault.REQUEST,
            )
        if not (to := message.to_id or message.to_handle):
            raise Rejected(
                "recipient_missing",
                _("This person has neither an Instagram id nor a handle. Add one to the lead."),
                fault=Fault.LEAD,
            )

        def classify(status: int, headers: Headers, body: Any) -> ProviderError | None:
            return self._sort(status, headers, body, hide=message.text)

        answer = call(
            self.wire,
            "POST",
            f"{self._node}/messages",
            json={"recipient": {"id": to}, "message": {"text": message.text}},
            headers={**self._headers, "Idempotency-Key": message.key},
            deadline_s=self.deadline_s,
            effect=True,
            classify=classify,
        )
        message_id = answer.at("message_id")
        if not isinstance(message_id, str) or not message_id:
            raise Unsure(
                "answer_incomplete", _INCOMPLETE, fault=Fault.PROVIDER, status=answer.status
            )
        return Receipt(message_id)

    def check(self) -> str:
        """Read the account with its token; return its user name."""
        answer = call(
            self.wire,
            "GET",
            self._node,
            params={"fields": "id,username,name"},
            headers=self._headers,
            deadline_s=self.deadline_s,
            effect=False,
            classify=self._sort,
        )
        return str(answer.at("username") or answer.at("name") or self.account_id)

    def _sort(
        self, status: int, headers: Headers, body: Any, hide: str = ""
    ) -> ProviderError | None:
        """Sort an answer by Graph's error object, and by status where there is none."""
        if status < 300:
            return None
        error = body.get("error") if isinstance(body, dict) else None
        error = error if isinstance(error, dict) else {}
        row = self._row(status, error)
        detail = words(_said(error), self._token, hide)
        if row is None:
            return Unsure(
                "provider_fault", _OUTAGE, fault=Fault.PROVIDER, detail=detail, status=status
            )
        if row.kind is TryLater:
            return TryLater(
                row.code,
                row.sentence,
                fault=row.fault,
                detail=detail,
                status=status,
                after=retry_after(headers, datetime.now(UTC)) or row.after,
            )
        return Rejected(row.code, row.sentence, fault=row.fault, detail=detail, status=status)

    def _row(self, status: int, error: dict[str, Any]) -> Row | None:
        """The row of the table; None where nobody can know what was done."""
        code, subcode = _number(error.get("code")), _number(error.get("error_subcode"))
        row = BY_SUBCODE.get((code, subcode)) or BY_CODE.get(code)
        if row is NOT_FOUND and f"'{self.account_id}'" in str(error.get("message")):
            # 100/33 is said of any object: if it is our own account, no lead is to blame.
            row = ACCOUNT_NOT_FOUND
        if error.get("is_transient") is True and (row is None or row.kind is Rejected):
            row = TEMPORARY
        if row is None and status == 429:
            row = RATE_LIMITED
        if row is None and status == 503:
            row = TEMPORARY
        if row is None and status != 408 and status < 500:
            row = {401: SESSION_INVALID, 403: NO_PERMISSION}.get(status, UNKNOWN)
        return row


def _said(error: dict[str, Any]) -> str:
    """Meta's words with the numbers its support asks for."""
    if not error:
        return ""
    numbers = (str(error[k]) for k in ("code", "error_subcode", "fbtrace_id") if error.get(k))
    return f"{error.get('message', '')} ({', '.join(numbers)})"


def _number(value: object) -> int:
    """A code as a number; some answers carry it as a string.

    >>> _number("190"), _number(None)
    (190, 0)
    """
    try:
        return int(str(value))
    except ValueError:
        return 0
