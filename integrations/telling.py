"""The outbox in words: what is wanted and what is there, and what another try would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy

from integrations.models import Connection, ExternalId, SyncItem

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Pages of the records that a key names, by the key's first word: by name, since they live upstairs.
_PAGES: Final = {"lead": "leads:detail"}
_LABELS: Final[dict[str, Promise]] = {
    "handle": gettext_lazy("Handle"),
    "first_name": gettext_lazy("First name"),
    "last_name": gettext_lazy("Last name"),
    "email": gettext_lazy("E-mail"),
    "phone": gettext_lazy("Phone"),
    "tags": gettext_lazy("Tags"),
    "instagram_username": gettext_lazy("Instagram handle"),
    "outreach_sent_at": gettext_lazy("First message sent at"),
    "last_outreach_message": gettext_lazy("Last message"),
    "source_channel": gettext_lazy("Channel"),
    "known_id": gettext_lazy("Contact id from the import"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One property of a record: as it shall be, and as it was last written."""

    label: str
    wanted: str
    done: str

    @property
    def differs(self) -> bool:
        return self.wanted != self.done


def lines(item: SyncItem) -> list[Line]:
    """The payload beside what was last delivered, one line per property that is known."""
    wanted, done = dict(_flat(item.wanted)), dict(_flat(item.done or {}))
    return [
        Line(str(_LABELS.get(key, key)), wanted.get(key, ""), done.get(key, ""))
        for key in dict.fromkeys([*wanted, *done])
        if wanted.get(key) or done.get(key)
    ]


def _flat(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value)
        elif isinstance(value, list):
            yield key, ", ".join(map(str, value))
        else:
            yield key, "" if value is None else str(value)


def record_url(item: SyncItem, tenant_slug: str) -> str:
    """The page of the record that an entry is about; "" when it has none."""
    kind, _colon, number = item.key.partition(":")
    if kind not in _PAGES or not number.isdecimal():
        return ""
    try:
        return reverse(_PAGES[kind], args=[tenant_slug, int(number)])
    except NoReverseMatch:
        return ""


def wished_at(item: SyncItem) -> datetime:
    """When the wish was made: its revision is that time, in microseconds."""
    return _EPOCH + timedelta(microseconds=item.wanted_rev)


def next_try(item: SyncItem, now: datetime) -> str:
    """What becomes of an entry that is not delivered yet; "" when nothing will by itself."""
    if item.state == SyncItem.State.CLAIMED:
        return _("It is being delivered right now.")
    if item.state != SyncItem.State.WAITING:
        return ""
    if item.connection.state == Connection.State.BROKEN:
        return _("It waits until the connection has a working credential.")
    if item.connection.state == Connection.State.OFF:
        return _("It waits until the connection is switched on.")
    if item.due_at is None or item.due_at <= now:
        return _("It is due now and delivered within moments.")
    return ""


def replay_does(item: SyncItem, known: ExternalId | None) -> list[str]:
    """What a replay will do, step by step, in the reader's language."""
    steps = []
    if item.connection.state == Connection.State.BROKEN:
        steps.append(_("It waits until the connection has a working credential."))
    elif item.connection.state == Connection.State.OFF:
        steps.append(_("It waits until the connection is switched on."))
    contact_id = known.external_id if known else str(item.wanted.get("known_id") or "")
    if contact_id:
        steps.append(
            _("Writes to the contact %(id)s; nothing new is created while it exists.")
            % {"id": contact_id}
        )
    elif known and known.create_begun_at:
        steps.append(
            _(
                "Searches for the contact first, since an earlier try may have created it; creates "
                "it only when it is not found."
            )
        )
    else:
        steps.append(_("Creates the contact, or adopts the one that the CRM already has."))
    steps.append(_("Adds the tags to those the contact has, and takes none away."))
    steps.append(_("Reads the contact back and compares every field."))
    steps.append(_("No message is sent to anybody."))
    return steps
