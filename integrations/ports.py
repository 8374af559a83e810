"""The neutral language between the product and its providers.

`integrations` knows no lead and no campaign; adapters take and return only what stands here.
Every method of a port raises TryLater, Rejected or Unsure of `errors.py`, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class DirectMessage:
    """One text for one person. `key` is the idempotency key, made when the row was inserted."""

    to_id: str  # the provider's id of the person; empty when not known yet
    to_handle: str
    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider said yes; `provider_id` is its name for the message."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """What a channel declares about itself, read by gates and by the launch dialog."""

    opens_conversation: bool  # may it write to a person who never wrote to us?
    max_bytes: int  # of UTF-8 text
    can_look_up: bool  # can a sent message be found again, to resolve `unknown`?


class Channel(Protocol):
    """A way to write to people from one account."""

    rules: ClassVar[ChannelRules]

    def send(self, message: DirectMessage) -> Receipt:
        """Send once. Never repeats by itself."""
        ...

    def check(self) -> str:
        """Try the credential for real; return the account's name."""
        ...


@dataclass(frozen=True, slots=True)
class Contact:
    """What a CRM shall hold of a person. An empty string means: not known, leave it alone.

    `key` is ours (such as `lead:42`); `fields` is keyed by neutral field key, such as
    `outreach_sent_at`.
    """

    key: str
    handle: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""  # E.164
    tags: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """Answer to `create`. `new` is False when the CRM named a contact it already had."""

    external_id: str
    new: bool


@dataclass(frozen=True, slots=True)
class CrmContact:
    """A contact as the CRM holds it: tags in lower case, known fields by neutral key."""

    id: str
    tags: frozenset[str]
    fields: Mapping[str, str]


class Crm(Protocol):
    """A book of contacts outside."""

    def create(self, contact: Contact) -> Created:
        """Create with tags and fields, or adopt the contact the CRM says it already has.

        An adopted contact is left as it was: `update` and `add_tags` follow.
        """
        ...

    def find(self, handle: str) -> str | None:
        """The id of the contact with this handle. An index may lag behind writes by a minute."""
        ...

    def update(self, external_id: str, contact: Contact) -> None:
        """Write what is known; tags are left alone. Harmless to repeat."""
        ...

    def add_tags(self, external_id: str, tags: tuple[str, ...]) -> None:
        """Add tags to those it has. Harmless to repeat."""
        ...

    def read(self, external_id: str) -> CrmContact:
        """Read one contact back."""
        ...

    def check(self) -> str:
        """Try the credential for real; return the account's name."""
        ...
