"""GoHighLevel as the sandbox plays it."""

import re
import time
from http import HTTPStatus
from typing import Any

from aiohttp import web

from integrations.sandbox.calls import Act, Call, Refusal, answer
from integrations.sandbox.state import Json, State, new_id, now_iso

GHL_VERSION = "2021-07-28"
BURST, INTERVAL_S, DAILY = 100, 10, 200_000

# The properties of CreateContactDto and UpdateContactDto; the live service refuses all others.
_ON_UPDATE = frozenset(
    {
        "firstName",
        "lastName",
        "name",
        "email",
        "phone",
        "address1",
        "city",
        "state",
        "postalCode",
        "website",
        "timezone",
        "dnd",
        "dndSettings",
        "inboundDndSettings",
        "tags",
        "customFields",
        "source",
        "dateOfBirth",
        "country",
        "assignedTo",
    }
)
_ON_CREATE = _ON_UPDATE | {"locationId", "gender", "companyName"}
_TEXTS = ("firstName", "lastName", "name", "email", "phone", "source", "locationId")
_FIELD = frozenset({"id", "key", "field_value", "value"})
_NEW_FIELD = frozenset(
    {
        "name",
        "dataType",
        "placeholder",
        "acceptedFormat",
        "isMultipleFile",
        "maxNumberOfFiles",
        "textBoxListOptions",
        "position",
        "model",
    }
)
_DATA_TYPES = frozenset(
    {
        "TEXT",
        "LARGE_TEXT",
        "NUMERICAL",
        "PHONE",
        "MONETORY",
        "CHECKBOX",
        "SINGLE_OPTIONS",
        "MULTIPLE_OPTIONS",
        "DATE",
        "TEXTBOX_LIST",
        "FILE_UPLOAD",
        "RADIO",
        "EMAIL",
    }
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"\+?[\d\s().-]{5,25}")


class Ghl:
    """GoHighLevel API v2: contacts, tags, custom fields. `version` is the only one it knows."""

    name = "ghl"

    def __init__(self, state: State, *, enforce_limits: bool = False) -> None:
        self.state = state
        self.enforce_limits = enforce_limits
        self._windows: dict[str, tuple[int, int]] = {}
        self._today: dict[str, tuple[int, int]] = {}

    def routes(self) -> list[tuple[str, str, Act]]:
        contact, place = "/ghl/contacts/{id}", "/ghl/locations/{location}"
        return [
            ("POST", "/ghl/contacts/", self.create),
            ("POST", "/ghl/contacts/search", self.search),
            ("GET", contact, self.read),
            ("PUT", contact, self.update),
            ("DELETE", contact, self.delete),
            ("POST", f"{contact}/tags", self.add_tags),
            ("DELETE", f"{contact}/tags", self.remove_tags),
            ("GET", place, self.location),
            ("GET", f"{place}/customFields", self.list_fields),
            ("POST", f"{place}/customFields", self.create_field),
            ("GET", f"{place}/tags", self.list_tags),
            ("POST", f"{place}/tags", self.create_tag),
            ("*", "/ghl/{rest:.*}", self.unknown),
        ]

    def account(self, call: Call) -> str:
        """The location a call is about, as far as the call tells."""
        info = call.request.match_info
        if location := info.get("location"):
            return location
        if contact := self.state.contacts.get(info.get("id", "")):
            return str(contact["locationId"])
        return str(call.body.get("locationId", "")) if isinstance(call.body, dict) else ""

    def guard(self, call: Call) -> None:
        """What stands before every endpoint: credential, version, location, rate."""
        if not call.token:
            raise self.refusal(401, "Invalid JWT", "Unauthorized")
        if call.token.startswith("expired"):
            raise self.expired()
        if call.token.startswith("agency"):
            raise self.refusal(401, "Token's user type mismatch!", "Unauthorized")
        version = call.request.headers.get("Version")
        if version is None:
            raise self.refusal(401, "version header was not found.", "Unauthorized")
        if version != GHL_VERSION:
            raise self.refusal(400, "version header is invalid")
        location = self.account(call)
        _, bound, own = call.token.partition("@")
        if bound and location and own != location:
            raise self.refusal(403, "The token does not have access to this location.", "Forbidden")
        if call.body is ValueError:
            raise self.refusal(400, "Bad Request")
        if self._count(location) and self.enforce_limits:
            raise self.refusal(429, "Too Many Requests")

    def _count(self, location: str) -> bool:
        """Count a call in its location's window; True when the burst is used up."""
        now = int(time.monotonic())
        window, day = now // INTERVAL_S, now // 86400
        began, used = self._windows.get(location, (window, 0))
        self._windows[location] = (window, used + 1 if began == window else 1)
        began, today = self._today.get(location, (day, 0))
        self._today[location] = (day, today + 1 if began == day else 1)
        return self._windows[location][1] > BURST

    def headers(self, call: Call) -> dict[str, str]:
        location = self.account(call)
        used, today = self._windows.get(location, (0, 0))[1], self._today.get(location, (0, 0))[1]
        # Without enforcement the remainder never says stop: a polite client would wait for nothing.
        left = max(BURST - used, 0 if self.enforce_limits else 1)
        return {
            "X-RateLimit-Max": str(BURST),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Interval-Milliseconds": str(INTERVAL_S * 1000),
            "X-RateLimit-Limit-Daily": str(DAILY),
            "X-RateLimit-Daily-Remaining": str(max(DAILY - today, 1)),
        }

    def refusal(self, status: int, message: object, error: str = "", **more: object) -> Refusal:
        body: Json = {"statusCode": status, "message": message, "traceId": new_id()}
        if error:
            body["error"] = error
        return Refusal(status, {**body, **more})

    def expired(self) -> Refusal:
        return self.refusal(401, "Invalid token: access token is invalid", "Unauthorized")

    def challenge(self) -> Refusal:
        return self.expired()

    def fault(self, status: int) -> Any:
        return {"statusCode": status, "message": HTTPStatus(status).phrase}

    # Contacts

    def create(self, call: Call) -> web.Response:
        body = self._object(call, _ON_CREATE)
        location = body.pop("locationId", "")
        if not location:
            raise self.refusal(
                422,
                ["locationId must be a string", "locationId should not be empty"],
                "Unprocessable Entity",
            )
        self._no_twin(location, body)
        now = now_iso()
        contact = {
            "id": new_id(),
            "locationId": location,
            "firstName": "",
            "lastName": "",
            "email": None,
            "phone": None,
            "tags": [],
            "customFields": [],
            "dateAdded": now,
        }
        self._write(contact, body, now)
        return answer({"contact": contact, "traceId": new_id()}, 201)

    def read(self, call: Call) -> web.Response:
        return answer({"contact": self._contact(call), "traceId": new_id()})

    def update(self, call: Call) -> web.Response:
        contact = dict(self._contact(call))
        body = self._object(call, _ON_UPDATE)
        self._no_twin(contact["locationId"], body, but=contact["id"])
        self._write(contact, body, now_iso())
        return answer({"succeded": True, "contact": contact, "traceId": new_id()})

    def delete(self, call: Call) -> web.Response:
        self.state.record({"e": "contact_gone", "id": self._contact(call)["id"]})
        return answer({"succeded": True, "traceId": new_id()})

    def add_tags(self, call: Call) -> web.Response:
        contact = self._contact(call)
        tags = self._tags(self._object(call, frozenset({"tags"})).get("tags"))
        added = [tag for tag in tags if tag not in contact["tags"]]
        self.state.save({**contact, "tags": [*contact["tags"], *added], "dateUpdated": now_iso()})
        return answer({"tags": [*contact["tags"], *added], "traceId": new_id()}, 201)

    def remove_tags(self, call: Call) -> web.Response:
        contact = self._contact(call)
        gone = self._tags(self._object(call, frozenset({"tags"})).get("tags"))
        left = [tag for tag in contact["tags"] if tag not in gone]
        self.state.save({**contact, "tags": left, "dateUpdated": now_iso()})
        return answer({"tags": left, "traceId": new_id()})

    def search(self, call: Call) -> web.Response:
        """Filters are joined by and; operators `eq` and `contains`; no lag, unlike the live one."""
        known = frozenset({"locationId", "page", "pageLimit", "filters", "sort", "query"})
        body = self._object(call, known)
        location, filters, sort = (body.get(name) for name in ("locationId", "filters", "sort"))
        limit, page = body.get("pageLimit", 20), body.get("page", 1)
        if not location or not all(isinstance(n, int) and n > 0 for n in (limit, page)):
            raise self.refusal(422, ["locationId, page and pageLimit are needed"])
        found = [c for c in self.state.contacts.values() if c["locationId"] == location]
        for row in filters or []:
            found = [contact for contact in found if self._meets(contact, row)]
        newest = any(row.get("direction") == "desc" for row in sort or [])
        found.sort(key=lambda contact: str(contact["dateAdded"]), reverse=newest)
        start = (page - 1) * limit
        return answer({"contacts": found[start : start + limit], "total": len(found)})

    def _meets(self, contact: Json, row: Json) -> bool:
        name, operator, wanted = row.get("field", ""), row.get("operator"), row.get("value")
        if operator not in ("eq", "contains"):
            raise self.refusal(422, [f"operator {operator} is not supported"])
        prefix, _, field_id = name.partition("customFields.")
        if field_id and not prefix:
            values = [f["value"] for f in contact["customFields"] if f["id"] == field_id]
        else:
            values = [contact.get(name)]
        said = [str(value).lower() for value in values if value is not None]
        aim = str(wanted).lower()
        return any(aim == one if operator == "eq" else aim in one for one in said)

    def _contact(self, call: Call) -> Json:
        if contact := self.state.contacts.get(call.part("id")):
            return contact
        raise self.refusal(404, "Contact not found", "Not Found")

    def _object(self, call: Call, known: frozenset[str]) -> Json:
        if not isinstance(call.body, dict):
            raise self.refusal(400, "Bad Request")
        wrong = [f"property {name} should not exist" for name in call.body if name not in known]
        for name in _TEXTS:
            value = call.body.get(name)
            if value is not None and not isinstance(value, str):
                wrong.append(f"{name} must be a string")
        email = call.body.get("email")
        if isinstance(email, str) and not _EMAIL.fullmatch(email):
            wrong.append("email must be an email")
        wrong += self._wrong_fields(call.body.get("customFields", []))
        if wrong:
            raise self.refusal(422, wrong, "Unprocessable Entity")
        phone = call.body.get("phone")
        if phone and not _PHONE.fullmatch(phone):
            raise self.refusal(400, "Invalid phone number")
        return dict(call.body)

    def _wrong_fields(self, rows: object) -> list[str]:
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return ["customFields must be an array"]
        return [
            f"customFields.{at}.property {name} should not exist"
            for at, row in enumerate(rows)
            for name in row
            if name not in _FIELD
        ]

    def _tags(self, tags: object) -> list[str]:
        if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
            raise self.refusal(422, ["each value in tags must be a string"], "Unprocessable Entity")
        return list(dict.fromkeys(tag.lower() for tag in tags))

    def _no_twin(self, location: str, body: Json, but: str = "") -> None:
        if twin := self.state.twin(location, body, but=but):
            field, contact_id = twin
            raise self.refusal(
                400,
                "This location does not allow duplicated contacts.",
                meta={"contactId": contact_id, "matchingField": field},
            )

    def _write(self, contact: Json, body: Json, now: str) -> None:
        fields = {row["id"]: row["value"] for row in contact["customFields"]}
        for row in body.pop("customFields", []):
            # `value` instead of `field_value` passes the live service and does nothing there.
            if "field_value" in row and (field_id := self._field_id(contact["locationId"], row)):
                fields[field_id] = row["field_value"]
        if "tags" in body:
            body["tags"] = self._tags(body["tags"])
        contact |= body
        contact["customFields"] = [{"id": i, "value": value} for i, value in fields.items()]
        contact["dateUpdated"] = now
        self.state.save(contact)

    def _field_id(self, location: str, row: Json) -> str:
        key = str(row.get("key", "")).removeprefix("contact.")
        for known in self.state.fields[location]:
            if known["id"] == row.get("id") or known["fieldKey"] == f"contact.{key}":
                return str(known["id"])
        return str(row.get("id", ""))

    # Locations

    def location(self, call: Call) -> web.Response:
        place = call.part("location")
        return answer({"location": {"id": place, "name": f"Location {place}"}})

    def list_fields(self, call: Call) -> web.Response:
        return answer({"customFields": self.state.fields[call.part("location")]})

    def create_field(self, call: Call) -> web.Response:
        body = self._object(call, _NEW_FIELD)
        place, name = call.part("location"), body.get("name")
        wrong = [] if name else ["name should not be empty"]
        if body.get("dataType") not in _DATA_TYPES:
            wrong.append("dataType must be one of " + ", ".join(sorted(_DATA_TYPES)))
        if wrong:
            raise self.refusal(422, wrong, "Unprocessable Entity")
        key = "contact." + re.sub(r"\W+", "_", str(name).strip().lower())
        if any(row["fieldKey"] == key for row in self.state.fields[place]):
            raise self.refusal(400, f"{key} already exists.")
        field = {
            "id": new_id(),
            "name": name,
            "fieldKey": key,
            "dataType": body["dataType"],
            "model": body.get("model", "contact"),
            "locationId": place,
        }
        self.state.record({"e": "field", "field": field})
        return answer({"customField": field, "traceId": new_id()}, 201)

    def list_tags(self, call: Call) -> web.Response:
        place = call.part("location")
        rows = self.state.tags[place].items()
        return answer({"tags": [{"id": i, "name": n, "locationId": place} for n, i in rows]})

    def create_tag(self, call: Call) -> web.Response:
        body, place = self._object(call, frozenset({"name"})), call.part("location")
        name = self._tags([body.get("name")])[0]
        tag = {"id": self.state.add_tag(place, name), "name": name, "locationId": place}
        return answer({"tag": tag, "traceId": new_id()}, 201)

    def unknown(self, call: Call) -> web.Response:
        path = call.request.path.removeprefix("/ghl")
        raise self.refusal(404, f"Cannot {call.request.method} {path}", "Not Found")
