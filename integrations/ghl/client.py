"""GoHighLevel (GHL) contacts over API v2.

Source: GoHighLevel API docs, contacts and locations, version 2021-07-28. GHL matches contacts by
e-mail and phone only and knows no idempotency: our own map from key to contact id is the key.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import quote

import httpx
from django.conf import settings
from django.utils.translation import gettext_noop as _

from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure, words
from integrations.http import Answer, Headers, call, retry_after
from integrations.ports import Contact, Created, CrmContact

API_VERSION: Final = "2021-07-28"  # contacts and locations; conversations have another
HANDLE_FIELD: Final = "instagram_username"
BURST_S: Final = 10.0
# What the product writes, by neutral key; `ensure_fields(FIELDS)` makes them at connection time.
FIELDS: Final[Mapping[str, str]] = {
    HANDLE_FIELD: "TEXT",
    "outreach_sent_at": "TEXT",
    "last_outreach_message": "LARGE_TEXT",
    "source_channel": "TEXT",
}
_NO_CONTACT = ("/contacts/", "/contacts/search")  # all others name a stored id
_INCOMPLETE = _(
    "GoHighLevel's answer names no contact, so nobody knows whether it was created. "
    "It will be looked for before it is created again."
)


class GoHighLevel:
    """One location. `field_ids` maps neutral field keys to GHL's ids. Implements `Crm`."""

    def __init__(
        self,
        wire: httpx.BaseTransport,
        *,
        base_url: str,
        location_id: str,
        token: str,
        deadline_s: float,
        field_ids: Mapping[str, str],
    ) -> None:
        self.wire = wire
        self.location_id = location_id
        self.deadline_s = deadline_s
        self.field_ids = dict(field_ids)
        self._base = base_url.rstrip("/")
        self._location = f"/locations/{quote(location_id, safe='')}"
        self._token = token
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Version": getattr(settings, "GHL_API_VERSION", "") or API_VERSION,
        }

    def create(self, contact: Contact) -> Created:
        """Create with tags and fields; a duplicate answer that names the contact adopts it.

        A new contact has no tags to lose, so here they go with it. Unsure means: `find` the handle
        a minute later before creating again. Source: operation `create-contact`.
        """
        body = {
            **self._known(contact),
            "locationId": self.location_id,
            "tags": list(contact.tags),
            "customFields": self._fields(contact),
        }
        if not (contact.first_name or contact.last_name):
            body["firstName"] = contact.handle  # a nameless contact cannot be found by people
        try:
            answer = self._call("POST", "/contacts/", json=body, effect=True)
        except _Duplicate as twin:
            if twin.contact_id:
                return Created(twin.contact_id, new=False)
            raise
        contact_id = answer.at("contact", "id")
        if not isinstance(contact_id, str) or not contact_id:
            raise Unsure(
                "answer_incomplete", _INCOMPLETE, fault=Fault.PROVIDER, status=answer.status
            )
        return Created(contact_id, new=True)

    def find(self, handle: str) -> str | None:
        """The id of the oldest contact with exactly this handle, from an index that lags a minute.

        Source: operation `search-contacts-advanced`.
        """
        field_id = self._field_id(HANDLE_FIELD)
        answer = self._call(
            "POST",
            "/contacts/search",
            json={
                "locationId": self.location_id,
                "page": 1,
                "pageLimit": 100,
                "filters": [
                    {"field": f"customFields.{field_id}", "operator": "eq", "value": handle}
                ],
                "sort": [{"field": "dateAdded", "direction": "asc"}],
            },
            effect=False,
        )
        for found in _rows(answer.at("contacts")):
            # Compared here too: what the live index calls equal is not documented.
            values = (row.get("value") for row in _rows(found.get("customFields"), id=field_id))
            if found.get("id") and any(_same(handle, value) for value in values):
                return str(found["id"])
        return None

    def update(self, external_id: str, contact: Contact) -> None:
        """Write what is known and the fields; tags stay as they are. Harmless to repeat.

        An e-mail or phone that is another contact's is left out, once. Source: `update-contact`.
        """
        path = f"/contacts/{quote(external_id, safe='')}"
        body = {**self._known(contact), "customFields": self._fields(contact)}
        try:
            self._call("PUT", path, json=body, effect=False)
        except _Duplicate as twin:
            if twin.field not in ("email", "phone") or twin.field not in body:
                raise
            del body[twin.field]
            self._call("PUT", path, json=body, effect=False)

    def add_tags(self, external_id: str, tags: tuple[str, ...]) -> None:
        """Add tags to those it has. Harmless to repeat. Source: operation `add-tags`."""
        if tags:
            path = f"/contacts/{quote(external_id, safe='')}/tags"
            self._call("POST", path, json={"tags": list(tags)}, effect=False)

    def read(self, external_id: str) -> CrmContact:
        """Read one contact back. Source: operation `get-contact`."""
        answer = self._call("GET", f"/contacts/{quote(external_id, safe='')}", effect=False)
        found = answer.at("contact")
        if not isinstance(found, dict):
            raise self._gone(answer.status, "")
        keys = {field_id: key for key, field_id in self.field_ids.items()}
        fields = {
            keys[row["id"]]: _text(row.get("value"))
            for row in _rows(found.get("customFields"))
            if row.get("id") in keys
        }
        tags = found.get("tags") or []
        return CrmContact(
            id=str(found.get("id") or external_id),
            tags=frozenset(str(tag).lower() for tag in tags),
            fields=fields,
        )

    def check(self) -> str:
        """Read the location with its token; return its name. Source: operation `get-location`."""
        answer = self._call("GET", self._location, effect=False)
        return str(answer.at("location", "name") or self.location_id)

    def ensure_fields(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """The ids of the wanted custom fields (key to GHL's data type); missing ones are created.

        Also keeps them for this adapter. Source: operations `get-custom-fields`,
        `create-custom-field`. Harmless to repeat.
        """
        path = f"{self._location}/customFields"
        answer = self._call("GET", path, params={"model": "contact"}, effect=False)
        known = {
            str(row.get("fieldKey", "")).removeprefix("contact."): str(row["id"])
            for row in _rows(answer.at("customFields"))
            if row.get("id")
        }
        for key, data_type in wanted.items():
            if key not in known:
                # GHL makes the key from the name: lower case, words joined by underscores.
                name = key.replace("_", " ").capitalize()
                body = {"name": name, "dataType": data_type, "model": "contact"}
                made = self._call("POST", path, json=body, effect=False)
                field_id = made.at("customField", "id")
                if not field_id:
                    raise self._refused(made.status, "")
                known[key] = str(field_id)
        ids = {key: known[key] for key in wanted}
        self.field_ids |= ids
        return ids

    def _known(self, contact: Contact) -> dict[str, Any]:
        """The contact's own properties, without those we do not know: GHL refuses empty ones."""
        values = {
            "firstName": contact.first_name,
            "lastName": contact.last_name,
            "email": contact.email,
            "phone": contact.phone,
        }
        return {name: value for name, value in values.items() if value}

    def _fields(self, contact: Contact) -> list[dict[str, str]]:
        """Custom fields as GHL takes them: written as `field_value`, read as `value`."""
        values = {**contact.fields, HANDLE_FIELD: contact.handle}
        return [
            {"id": self._field_id(key), "field_value": value}
            for key, value in values.items()
            if value
        ]

    def _field_id(self, key: str) -> str:
        if field_id := self.field_ids.get(key):
            return field_id
        raise Rejected(
            "field_missing",
            _("A custom field is missing at GoHighLevel. Test the connection, which creates it."),
            fault=Fault.ACCOUNT,
            detail=key,
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        effect: bool,
    ) -> Answer:
        on_contact = path.startswith("/contacts/") and path not in _NO_CONTACT

        def classify(status: int, headers: Headers, body: Any) -> ProviderError | None:
            return self._sort(status, headers, body, on_contact=on_contact)

        return call(
            self.wire,
            method,
            f"{self._base}{path}",
            json=json,
            params=params,
            headers=self._headers,
            deadline_s=self.deadline_s,
            effect=effect,
            classify=classify,
        )

    def _sort(
        self, status: int, headers: Headers, body: Any, on_contact: bool
    ) -> ProviderError | None:
        """Sort an answer by status and, for a few, by its words."""
        body = body if isinstance(body, dict) else {}
        said = _said(body)
        detail = words(_with_trace(said, body), self._token)
        lower = said.lower()
        if status < 300:
            return self._refused(status, detail) if body.get("error") else None
        if status == 400 and "duplicated contacts" in lower:
            meta = body.get("meta")
            return _Duplicate(meta if isinstance(meta, dict) else {}, detail)
        if on_contact and (status == 404 or (status == 400 and "not found" in lower)):
            return self._gone(status, detail)
        if status == 401:
            return _unauthorised(lower, detail)
        if status == 403:
            return Rejected(
                "location_refused",
                _(
                    "The token does not open this GoHighLevel location. "
                    "Check the location id, or enter the location's own token."
                ),
                fault=Fault.ACCOUNT,
                detail=detail,
                status=status,
            )
        if status == 422:
            return Rejected(
                "fields_refused",
                _("GoHighLevel refuses a field of this contact. Check the field map."),
                fault=Fault.REQUEST,
                detail=detail,
                status=status,
            )
        if status == 429:
            return TryLater(
                "rate_limited",
                _("GoHighLevel asks for a slower pace. The contact is written a little later."),
                detail=detail,
                status=status,
                after=_wait(headers, datetime.now(UTC)),
            )
        if status == 503:
            return TryLater(
                "provider_unavailable",
                _("GoHighLevel is not available right now. It will be tried again by itself."),
                detail=detail,
                status=status,
                after=retry_after(headers, datetime.now(UTC)),
            )
        if status == 408 or status >= 500:
            return Unsure(
                "provider_fault",
                _(
                    "GoHighLevel reported a fault of its own, so nobody knows whether the contact "
                    "was written. It will be looked for before it is created again."
                ),
                fault=Fault.PROVIDER,
                detail=detail,
                status=status,
            )
        return self._refused(status, detail)

    def _gone(self, status: int, detail: str) -> Rejected:
        return Rejected(
            "contact_gone",
            _("The contact was deleted or merged at GoHighLevel. It will be created anew."),
            fault=Fault.REQUEST,
            detail=detail,
            status=status,
        )

    def _refused(self, status: int, detail: str) -> Rejected:
        return Rejected(
            "request_refused",
            _(
                "GoHighLevel refuses this contact as it is. "
                "Read the technical detail, correct the lead's phone or e-mail, then retry."
            ),
            fault=Fault.REQUEST,
            detail=detail,
            status=status,
        )


class _Duplicate(Rejected):
    """GHL already has a contact with this e-mail or phone, and mostly says which."""

    def __init__(self, meta: Mapping[str, Any], detail: str) -> None:
        super().__init__(
            "contact_duplicate",
            _(
                "Another contact at GoHighLevel has this e-mail or phone. "
                "Merge the two there, then retry."
            ),
            fault=Fault.REQUEST,
            detail=detail,
            status=400,
        )
        self.contact_id = str(meta.get("contactId") or "")
        self.field = str(meta.get("matchingField") or "")


def _unauthorised(said: str, detail: str) -> Rejected:
    """A 401: the token is dead, too weak, or of the wrong kind."""
    if "scope" in said:
        code, sentence = (
            "scope_missing",
            _("The GoHighLevel token lacks a permission. Make a new one with every scope listed."),
        )
    elif "user type" in said:
        code, sentence = (
            "agency_token",
            _("This is an agency's GoHighLevel token. Enter one made inside the location."),
        )
    else:
        code, sentence = (
            "session_invalid",
            _("GoHighLevel no longer accepts the token. Enter a new one in the connection."),
        )
    return Rejected(code, sentence, fault=Fault.ACCOUNT, detail=detail, status=401)


def _wait(headers: Headers, now: datetime) -> timedelta:
    """How long a 429 lasts: until tomorrow when the day is used up, else one interval.

    >>> now = datetime(2026, 3, 1, 23, 59, 30, tzinfo=UTC)
    >>> _wait({"x-ratelimit-daily-remaining": "0"}, now)
    datetime.timedelta(seconds=30)
    >>> _wait({"x-ratelimit-interval-milliseconds": "2500"}, now)
    datetime.timedelta(seconds=2, microseconds=500000)
    """
    if headers.get("x-ratelimit-daily-remaining", "").strip() == "0":
        return datetime.combine(now.date() + timedelta(days=1), time.min, UTC) - now
    if (asked := retry_after(headers, now)) is not None:
        return asked
    interval = headers.get("x-ratelimit-interval-milliseconds", "").strip()
    if interval.isdecimal():
        return timedelta(milliseconds=min(int(interval), 86_400_000))
    return timedelta(seconds=BURST_S)


def _said(body: Mapping[str, Any]) -> str:
    """GHL's message, which is a string or a list.

    >>> _said({"message": ["a should not exist", "b must be a string"]})
    'a should not exist; b must be a string'
    """
    message = body.get("message") or body.get("error") or ""
    return "; ".join(map(str, message)) if isinstance(message, list) else str(message)


def _with_trace(said: str, body: Mapping[str, Any]) -> str:
    """Their support asks for the trace id."""
    return f"{said} (trace {body['traceId']})" if body.get("traceId") else said


def _rows(value: object, **equal: str) -> list[dict[str, Any]]:
    """The objects of a list, whatever else a provider may have put there."""
    rows = value if isinstance(value, list) else []
    return [
        row
        for row in rows
        if isinstance(row, dict) and all(row.get(k) == v for k, v in equal.items())
    ]


def _same(handle: str, value: object) -> bool:
    """
    >>> _same("ana.silva", "@Ana.Silva ")
    True
    """
    return _text(value).strip().lstrip("@").lower() == handle.strip().lstrip("@").lower()


def _text(value: object) -> str:
    """A field's value as text; lists are joined.

    >>> _text(["a", "b"]), _text(None), _text(3)
    ('a, b', '', '3')
    """
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
