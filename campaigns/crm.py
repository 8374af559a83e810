"""What a sent message means for the CRM: the contact, its tags and fields, as a wish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from integrations.actions import Wish, want_contacts
from leads.names import first_name

TAGS = ("prospectado", "outbound-instagram")
SOURCE_CHANNEL = "outbound_instagram_dm"
MESSAGE_LIMIT = 500


class Known(Protocol):
    """A lead, as far as a CRM goes."""

    @property
    def pk(self) -> int: ...
    @property
    def handle(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def email(self) -> str: ...
    @property
    def phone(self) -> str: ...
    @property
    def ghl_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Person:
    """The part of a lead that a CRM is told."""

    lead_id: int
    handle: str
    first_name: str
    last_name: str
    email: str
    phone: str
    ghl_id: str


def person(lead: Known) -> Person:
    first = first_name(lead.name, lead.handle)
    # A company or an unreadable name is kept whole: the CRM wants something to show.
    rest = lead.name.split(first, 1)[1].strip() if first and first in lead.name else ""
    return Person(
        lead_id=lead.pk,
        handle=lead.handle,
        first_name=first or lead.name or lead.handle,
        last_name=rest,
        email=lead.email,
        phone=lead.phone,
        ghl_id=lead.ghl_id,
    )


def want(sent: Sequence[tuple[Person, str]], now: datetime) -> None:
    """Wish that the CRM knows of these sends; in the transaction that marks them sent."""
    want_contacts(
        [
            Wish(
                key=f"lead:{who.lead_id}",
                known_id=who.ghl_id,
                contact={
                    "handle": who.handle,
                    "first_name": who.first_name,
                    "last_name": who.last_name,
                    "email": who.email,
                    "phone": who.phone,
                    "tags": list(TAGS),
                    "fields": {
                        "instagram_username": who.handle,
                        "outreach_sent_at": now.isoformat(timespec="seconds"),
                        "last_outreach_message": text[:MESSAGE_LIMIT],
                        "source_channel": SOURCE_CHANNEL,
                    },
                },
            )
            for who, text in sent
        ],
        now,
    )
