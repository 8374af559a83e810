"""The calls of a delivery, one step each: made in a thread of the pool, without the database.

`syncing.py` decides what is called next, `answers.py` what came of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeGuard

from agenticos import logs
from integrations.delivery import MOST_CALLS
from integrations.errors import Fault, ProviderError, Unsure
from integrations.ghl.client import HANDLE_FIELD
from integrations.ports import Contact, Created, Crm, CrmContact

logger = logging.getLogger(__name__)


class Step(Enum):
    """What is called in one go; the value is the number of calls it may take."""

    FIELDS = ("fields", MOST_CALLS)
    WRITE = ("write", 3)
    FIND = ("find", 1)
    CREATE = ("create", 1)
    READ = ("read", 1)

    @property
    def calls(self) -> int:
        return self.value[1]


class HasFields(Protocol):
    """A CRM whose custom fields must exist, and have ids, before they are written."""

    def ensure_fields(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """The ids of the wanted fields, by neutral key; missing ones are created."""
        ...


def has_fields(crm: object) -> TypeGuard[HasFields]:
    return hasattr(crm, "ensure_fields")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step: an answer, an error, or nothing at all (not called, or not finished)."""

    called: bool = True
    error: ProviderError | None = None
    field_ids: dict[str, str] = field(default_factory=dict)
    created: Created | None = None
    found: str | None = None
    seen: CrmContact | None = None


def perform(
    step: Step,
    crm: Crm,
    contact: Contact,
    external_id: str,
    fields: Mapping[str, str],
    halted: Callable[[], bool],
) -> Outcome:
    """Call the provider for one step, in a thread of the pool. Never raises."""
    with logs.bound(items=[contact.key], step=step.name.lower()):
        try:
            if halted():
                return Outcome(called=False)
            if step is Step.FIELDS:
                return Outcome(field_ids=crm.ensure_fields(fields) if has_fields(crm) else {})
            if step is Step.FIND:
                return Outcome(found=crm.find(contact.handle) if contact.handle else None)
            if step is Step.CREATE:
                return Outcome(created=crm.create(contact))
            if step is Step.WRITE:
                crm.update(external_id, contact)
                if halted():
                    return Outcome(called=False)
                crm.add_tags(external_id, contact.tags)
                if halted():
                    return Outcome(called=False)
            return Outcome(seen=crm.read(external_id))
        except ProviderError as error:
            return Outcome(error=error)
        except Exception as error:  # a bug must not end the slice; a create may have happened
            logger.exception("sync step %s: unexpected failure of the adapter", step.name)
            return Outcome(
                error=Unsure(
                    "adapter_failed",
                    "Something unexpected happened during the call.",
                    fault=Fault.PROVIDER,
                    detail=type(error).__name__,
                )
            )


def not_stored(contact: Contact, seen: CrmContact) -> list[str]:
    """The fields and tags of `contact` that the CRM does not show, by name.

    >>> ana = Contact(key="lead:1", handle="ana", tags=("VIP",), fields={"source_channel": "dm"})
    >>> stored = {"instagram_username": "ana", "source_channel": ""}
    >>> not_stored(ana, CrmContact("c1", frozenset({"vip"}), stored))
    ['source_channel']
    """
    wanted = {**contact.fields, HANDLE_FIELD: contact.handle}
    stored = {key: _flat(seen.fields.get(key)) for key in wanted}
    fields = [key for key, value in wanted.items() if value and _flat(value) != stored[key]]
    tags = [f"tag {tag}" for tag in contact.tags if tag.strip().lower() not in seen.tags]
    return sorted(fields) + sorted(tags)


def _flat(value: str | None) -> str:
    # A CRM may trim, or end lines in its own way.
    return " ".join((value or "").split())
