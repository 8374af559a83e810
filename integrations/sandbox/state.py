"""What the sandbox holds: contacts, fields, tags and every delivery, with a journal of events.

Each change is an event: applied to memory, and written as one JSON line before the provider's
answer leaves. Replaying the lines gives the same state, also after a SIGKILL.
"""

import json
import os
import secrets
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def new_id() -> str:
    """Twenty characters, as the live service's ids."""
    return secrets.token_hex(10)


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class State:
    """All that was received, in memory; in a journal too when a path is given."""

    def __init__(self, journal: Path | None = None) -> None:
        self._file: int | None = None
        self._clear()
        if journal is not None:
            self._open(journal)

    def _clear(self) -> None:
        self.contacts: dict[str, Json] = {}
        self.fields: dict[str, list[Json]] = defaultdict(list)
        self.tags: dict[str, dict[str, str]] = defaultdict(dict)
        self.deliveries: list[Json] = []
        self.per_key: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        self._by_identity: dict[tuple[str, str, str], str] = {}

    def _open(self, journal: Path) -> None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        good = 0
        if journal.exists():
            with journal.open("rb") as lines:
                for line in lines:
                    # A torn last line was never answered for: it is cut off.
                    try:
                        if not line.endswith(b"\n"):
                            break
                        self._apply(json.loads(line))
                    except ValueError:
                        break
                    good += len(line)
        self._file = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._file, good)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def record(self, event: Json) -> None:
        """Apply one event and write its line, unbuffered."""
        if self._file is not None:
            os.write(self._file, json.dumps(event, separators=(",", ":")).encode() + b"\n")
        self._apply(event)

    def reset(self) -> None:
        """Forget everything, the journal too."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
        self._clear()

    def _apply(self, event: Json) -> None:
        kind = event["e"]
        if kind == "delivery":
            key = event["key"]
            n = 1
            if key:
                self.per_key[key] += 1
                n = self.per_key[key]
            self.deliveries.append({**{k: event[k] for k in _DELIVERY}, "n": n})
        elif kind == "contact":
            self._put(event["contact"])
        elif kind == "contact_gone":
            self._forget(self.contacts.pop(event["id"]))
        elif kind == "field":
            self.fields[event["field"]["locationId"]].append(event["field"])
        elif kind == "tag":
            self.tags[event["location"]][event["name"]] = event["id"]

    def _put(self, contact: Json) -> None:
        if old := self.contacts.get(contact["id"]):
            self._forget(old)
        self.contacts[contact["id"]] = contact
        for kind in ("email", "phone"):
            if value := contact.get(kind):
                identity = (contact["locationId"], kind, value.lower())
                self._by_identity.setdefault(identity, contact["id"])

    def _forget(self, contact: Json) -> None:
        for kind in ("email", "phone"):
            identity = (contact["locationId"], kind, (contact.get(kind) or "").lower())
            if self._by_identity.get(identity) == contact["id"]:
                del self._by_identity[identity]

    # What the providers ask for and do

    def deliver(self, account: str, recipient: str, text: str, key: str) -> str:
        """Accept a message and count it under its key; return the message's id."""
        self.record(
            {
                "e": "delivery",
                "account": account,
                "recipient": recipient,
                "text": text,
                "key": key,
                "at": now_iso(),
            }
        )
        return f"mid.{len(self.deliveries)}.{secrets.token_hex(4)}"

    def save(self, contact: Json) -> None:
        """Store a contact as it now is, and the tags it brings to its location."""
        location = contact["locationId"]
        for tag in contact["tags"]:
            self.add_tag(location, tag)
        self.record({"e": "contact", "contact": contact})

    def add_tag(self, location: str, name: str) -> str:
        if name not in self.tags[location]:
            self.record({"e": "tag", "location": location, "name": name, "id": new_id()})
        return self.tags[location][name]

    def twin(self, location: str, values: Json, *, but: str = "") -> tuple[str, str] | None:
        """The other contact with the same e-mail or phone: (matching field, its id)."""
        for kind in ("email", "phone"):
            found = self._by_identity.get((location, kind, (values.get(kind) or "").lower()))
            if values.get(kind) and found and found != but:
                return kind, found
        return None

    # What the witness says

    def summary(self) -> Json:
        """The counts alone."""
        return {
            "deliveries": len(self.deliveries),
            "keys": len(self.per_key),
            "duplicates": len(self.duplicates()),
            "contacts": len(self.contacts),
            "requests": dict(self.requests),
            "refused": dict(self.refused),
            "faults": dict(self.faulted),
        }

    def duplicates(self) -> list[str]:
        """Keys under which more than one delivery was accepted."""
        return [key for key, n in self.per_key.items() if n > 1]

    def everything(self) -> Json:
        return {
            "counts": self.summary(),
            "contacts": [self._shown(contact) for contact in self.contacts.values()],
            "deliveries": self.deliveries,
            "duplicates": self.duplicates(),
        }

    def _shown(self, contact: Json) -> Json:
        """A contact with its fields by key instead of by id."""
        keys = {
            row["id"]: row["fieldKey"].removeprefix("contact.")
            for row in self.fields[contact["locationId"]]
        }
        fields = {keys.get(row["id"], row["id"]): row["value"] for row in contact["customFields"]}
        return {**contact, "customFields": fields}


_DELIVERY = ("account", "recipient", "text", "key", "at")
