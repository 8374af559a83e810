"""Tenants out of one declarative file: checked whole, then written in one transaction.

Three passes. The JSON Schema says what the file may look like; `_check` looks at what a schema
cannot know (zones, templates, names that refer to each other, accounts of other tenants); `_write`
creates what is missing and updates what is named. Nothing is written before the last pass, and a
second run of the same file changes nothing.
"""

from __future__ import annotations

import json
import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import environ
import jsonschema
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from agenticos import scope
from agenticos.errors import Refused
from campaigns import accounts, library, plan, rendering
from campaigns.models import SendingAccount, Template
from integrations.models import Connection
from leads import actions as leads
from leads.identities import normalise_handle
from leads.models import IcpVersion
from leads.scoring import SCHEMA as ICP_SCHEMA, BadConfig, IcpConfig
from tenants import actions, audit, keys
from tenants.models import ApiKey, Membership, Tenant, User

env = environ.Env()
Json = dict[str, Any]
KEY_DAYS = 90
SHOWN = 20
TENANT_FIELDS = ("name", "time_zone", "language", "contact_gap_days")
ACCOUNT_FIELDS = (
    *("day_cap", "hour_cap", "gap_min_s", "gap_max_s", "jitter_percent"),
    "time_zone",
)


class Invalid(ValueError):
    """The file cannot be taken: one line per fault, with its path and what was expected."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults[:SHOWN]))


@dataclass(slots=True)
class Result:
    """What was done. `tenants` is the promised answer; `notes` are for people."""

    tenants: dict[str, Json] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> Json:
        return {"tenants": self.tenants}


# --- Reading ----------------------------------------------------------------------------------


def schema() -> Json:
    """The JSON Schema of the file, with the ICP's own in its place."""
    text = Path(__file__).with_name("provisioning.schema.json").read_text(encoding="utf-8")
    loaded: Json = json.loads(text)
    config = {key: value for key, value in ICP_SCHEMA.items() if key != "$schema"}
    loaded["$defs"]["icp"]["properties"]["config"] = config
    return loaded


def read(text: str) -> Json:
    """Parse a file and hold it against the schema. Raises Invalid."""
    try:
        data: Json = json.loads(text, object_pairs_hook=_no_doubles)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid([f"{where}: expected JSON ({error.msg})"]) from None
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(data)
    faults = [fault for error in errors for fault in _faults(error)]
    if faults:
        raise Invalid(sorted(faults))
    return data


def _no_doubles(pairs: list[tuple[str, Any]]) -> Json:
    """A JSON object whose keys are all different: of two, one would silently win."""
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise Invalid([f"{key}: expected once in an object, stands there twice"])
        found[key] = value
    return found


def _path(parts: Iterable[str | int]) -> str:
    """`tenants[0].members[1].role`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _faults(error: jsonschema.ValidationError) -> Iterator[str]:
    """A schema error in our words. Never shows a value: it may be a secret."""
    path = list(error.absolute_path)
    rule, want = str(error.validator), cast(Any, error.validator_value)
    here: Json = error.schema if isinstance(error.schema, dict) else {}
    if rule == "additionalProperties" and want is False:
        known = sorted(here.get("properties", {}))
        for key in cast(Json, error.instance):
            if key not in known:
                yield f"{_path([*path, key])}: unknown key; expected one of: {', '.join(known)}"
        return
    if rule == "required":
        missing = [key for key in want if key not in cast(Json, error.instance)]
        yield f"{_path(path)}: expected the key {missing[0]!r}, which is missing"
        return
    yield f"{_path(path)}: expected {_expected(rule, want, here)}"


def _expected(rule: str, want: Any, here: Json) -> str:
    match rule:
        case "type":
            return " or ".join([want] if isinstance(want, str) else want)
        case "enum":
            return f"one of: {', '.join(map(str, want))}"
        case "minimum":
            return f"{want} or more"
        case "maximum":
            return f"{want} or less"
        case "minLength":
            return f"{want} characters or more"
        case "maxLength":
            return f"{want} characters or fewer"
        case "minItems":
            return f"{want} or more entries"
        case "maxItems":
            return f"{want} or fewer entries"
        case "uniqueItems":
            return "no entry twice"
        case "pattern":
            return str(here.get("description") or f"a text that matches {want}")
    return f"{rule} {want}"


# --- Checking ---------------------------------------------------------------------------------


def provision(data: Json, *, now: datetime) -> Result:
    """Create and update what `data` (out of `read`) names; all of it or nothing.

    Raises Invalid.
    """
    try:
        return _provision(data, now)
    except Refused as error:  # the plan has no room for what the file adds
        raise Invalid([str(error)]) from error


def _provision(data: Json, now: datetime) -> Result:
    with scope.as_system("provisioning"), transaction.atomic():
        notes = _take_defaults(data["tenants"])
        faults = list(_check(data["tenants"]))
        if faults:
            raise Invalid(faults)
        result = Result(notes=notes)
        for entry in data["tenants"]:
            result.tenants[entry["slug"]] = _write_tenant(entry, now)
    return result


def _take_defaults(tenants: list[Json]) -> list[str]:
    """Copy the environment's defaults of a single-tenant installation into its first tenant.

    Returns notes on what is set and not used.
    """
    key, location = env.str("GHL_API_KEY", ""), env.str("GHL_LOCATION_ID", "")
    notes = []
    oldest = Tenant.objects.order_by("pk").first()
    first = tenants[0]
    if oldest is None or oldest.slug == first["slug"]:
        named = [item["kind"] for item in first.get("connections", ())]
        there = oldest is not None and (
            Connection.objects.filter(tenant=oldest, kind=Connection.Kind.GHL).exists()
        )
        if key and location and "ghl" not in named and not there:
            default = {"kind": "ghl", "name": "GoHighLevel", "external_id": location, "token": key}
            first.setdefault("connections", []).append(default)
        elif bool(key) != bool(location):
            notes.append("GHL_API_KEY and GHL_LOCATION_ID are used together: one is missing.")
    unused = {
        "INSTAGRAM_SESSION_ID": env.str("INSTAGRAM_SESSION_ID", ""),
        "GEMINI_API_KEY": env.str("GEMINI_API_KEY", ""),
        "OPENAI_API_KEY": env.str("OPENAI_API_KEY", ""),
    }
    notes += [
        f"{name} is set; this version does not use it." for name, set_ in unused.items() if set_
    ]
    return notes


def _check(tenants: list[Json]) -> Iterator[str]:
    """What the schema cannot know. Also puts handles and e-mails into their normal form."""
    yield from _doubles(tenants, "slug", ["tenants"])
    externals: dict[tuple[str, str], str] = {}
    for number, entry in enumerate(tenants):
        at = ["tenants", number]
        tenant = Tenant.objects.filter(slug=entry["slug"]).first()
        yield from _check_zone(entry, at)
        yield from _check_members(entry, at)
        yield from _check_connections(entry, at, tenant, externals)
        yield from _check_accounts(entry, at, tenant)
        yield from _check_texts(entry, at)
        yield from _check_keys(entry, at, tenant)


def _doubles(rows: list[Json], key: str, at: list[Any]) -> Iterator[str]:
    seen: set[Any] = set()
    for number, row in enumerate(rows):
        if row[key] in seen:
            yield f"{_path([*at, number, key])}: expected a value that stands here once"
        seen.add(row[key])


def _check_zone(row: Json, at: list[Any]) -> Iterator[str]:
    if "time_zone" in row and row["time_zone"] not in zoneinfo.available_timezones():
        yield (
            f"{_path([*at, 'time_zone'])}: expected an IANA time zone, such as America/Sao_Paulo"
        )


def _check_members(entry: Json, at: list[Any]) -> Iterator[str]:
    members = entry.get("members", [])
    for number, member in enumerate(members):
        member["email"] = member["email"].strip().lower()
        try:
            validate_email(member["email"])
        except ValidationError:
            yield f"{_path([*at, 'members', number, 'email'])}: expected an e-mail address"
    yield from _doubles(members, "email", [*at, "members"])


def _check_connections(
    entry: Json, at: list[Any], tenant: Tenant | None, externals: dict[tuple[str, str], str]
) -> Iterator[str]:
    connections = entry.get("connections", [])
    yield from _doubles(connections, "name", [*at, "connections"])
    for number, item in enumerate(connections):
        here = [*at, "connections", number]
        identity = (item["kind"], item["external_id"])
        holder = Connection.objects.filter(kind=identity[0], external_id=identity[1]).first()
        same = _connection(tenant, item["name"])
        if same is not None and same.kind != item["kind"]:
            yield f"{_path([*here, 'kind'])}: expected {same.kind}, as it was from the start"
        # Who holds it is nobody's business.
        taken = holder is not None and (same is None or holder.pk != same.pk)
        if taken or identity in externals:
            yield (
                f"{_path([*here, 'external_id'])}: expected an account that no other connection "
                "uses"
            )
        externals[identity] = entry["slug"]


def _connection(tenant: Tenant | None, name: str) -> Connection | None:
    if tenant is None:
        return None
    return Connection.objects.filter(tenant=tenant, name=name).first()


def _check_accounts(entry: Json, at: list[Any], tenant: Tenant | None) -> Iterator[str]:
    accounts = entry.get("accounts", [])
    kinds = {item["name"]: item["kind"] for item in entry.get("connections", [])}
    for number, item in enumerate(accounts):
        here = [*at, "accounts", number]
        yield from _check_zone(item, here)
        handle = normalise_handle(item["handle"])
        if handle is None:
            yield f"{_path([*here, 'handle'])}: expected an Instagram handle"
        item["handle"] = handle or item["handle"]
        old = tenant and SendingAccount.objects.filter(tenant=tenant, handle=handle).first()
        known = old or SendingAccount()
        low = item.get("gap_min_s", known.gap_min_s)
        high = item.get("gap_max_s", known.gap_max_s)
        if low > high:
            yield f"{_path([*here, 'gap_max_s'])}: expected gap_min_s ({low}) or more"
        kind = kinds.get(item["connection"]) or getattr(
            _connection(tenant, item["connection"]), "kind", None
        )
        if kind != Connection.Kind.INSTAGRAM:
            yield (
                f"{_path([*here, 'connection'])}: expected the name of a connection of this tenant "
                f"of the kind {Connection.Kind.INSTAGRAM.value}"
            )
        user = SendingAccount.objects.filter(
            tenant=tenant, connection__name=item["connection"]
        ).exclude(handle=item["handle"])
        if tenant and user.exists():
            yield f"{_path([*here, 'connection'])}: expected one that no other account uses"
    yield from _doubles(accounts, "handle", [*at, "accounts"])
    yield from _doubles(accounts, "connection", [*at, "accounts"])


def _check_texts(entry: Json, at: list[Any]) -> Iterator[str]:
    templates = entry.get("templates", [])
    yield from _doubles(templates, "name", [*at, "templates"])
    for number, item in enumerate(templates):
        try:
            rendering.parse(item["body"])
        except rendering.BadTemplate as error:
            sentence = rendering.sentence_for(error.code, error.params)
            yield f"{_path([*at, 'templates', number, 'body'])}: expected a template: {sentence}"
    if "icp" in entry:
        try:
            IcpConfig.from_json(entry["icp"]["config"])
        except BadConfig as error:
            yield f"{_path([*at, 'icp', 'config'])}.{error}"


def _check_keys(entry: Json, at: list[Any], tenant: Tenant | None) -> Iterator[str]:
    api_keys = entry.get("api_keys", [])
    yield from _doubles(api_keys, "name", [*at, "api_keys"])
    members = {member["email"] for member in entry.get("members", [])}
    if tenant:
        members |= set(
            Membership.objects.filter(tenant=tenant).values_list("user__email", flat=True)
        )
    for number, item in enumerate(api_keys):
        item["created_by"] = item["created_by"].strip().lower()
        if item["created_by"] not in members:
            yield (
                f"{_path([*at, 'api_keys', number, 'created_by'])}: expected the e-mail of a member"
            )


# --- Writing ----------------------------------------------------------------------------------


def _write_tenant(entry: Json, now: datetime) -> Json:
    """Write one tenant and what belongs to it; return its slug and the keys made now."""
    tenant = Tenant.objects.filter(slug=entry["slug"]).first()
    if tenant is None:
        values = {name: entry[name] for name in TENANT_FIELDS if name in entry}
        tenant = Tenant.objects.create(slug=entry["slug"], **{"name": entry["slug"], **values})
        with scope.as_tenant(tenant):
            audit.record(tenant, "tenant.created", by=None)
    else:
        with scope.as_tenant(tenant):
            if _update(tenant, entry, TENANT_FIELDS, "tenant.updated"):
                actions.forget_day_usage(tenant)
    with scope.as_tenant(tenant):
        # First, so that the same file may raise a limit and use it.
        _write_plan(tenant, entry.get("plan", {}), now)
        for member in entry.get("members", []):
            _write_member(tenant, member)
        _write_icp(tenant, entry.get("icp"), now)
        for item in entry.get("connections", []):
            _write_connection(tenant, item)
        for item in entry.get("accounts", []):
            _write_account(tenant, item, now)
        for item in entry.get("templates", []):
            _write_template(tenant, item, now)
        made = {}
        for item in entry.get("api_keys", []):
            if text := _write_key(tenant, item, now):
                made[item["name"]] = text
    return {"slug": tenant.slug, "api_keys": made}


def _update(row: Any, entry: Json, names: Iterable[str], action: str) -> bool:
    """Set what the file names and what differs; audit it. Returns whether anything did."""
    changed = [name for name in names if name in entry and getattr(row, name) != entry[name]]
    for name in changed:
        setattr(row, name, entry[name])
    if changed:
        row.save(update_fields=changed)
        audit.record(row, action, by=None, fields=changed)
    return bool(changed)


def _write_plan(tenant: Tenant, entry: Json, now: datetime) -> None:
    values = {"plan" if name == "name" else f"max_{name}": entry[name] for name in entry}
    plan.edit_plan(tenant, values, by=None, now=now)


def _write_member(tenant: Tenant, entry: Json) -> None:
    user = User.objects.filter(email__iexact=entry["email"]).first()
    if user is None:
        user = User.objects.create_user(
            entry["email"], entry.get("password"), name=entry.get("name", "")
        )
    else:
        changed = []
        if "name" in entry and user.name != entry["name"]:
            user.name = entry["name"]
            changed.append("name")
        if "password" in entry and not user.check_password(entry["password"]):
            user.set_password(entry["password"])
            changed.append("password")
        if changed:
            user.save(update_fields=changed)
    membership = Membership.objects.filter(tenant=tenant, user=user).first()
    if membership is None:
        membership = Membership.objects.create(tenant=tenant, user=user, role=entry["role"])
        audit.record(membership, "member.added", by=None, role=entry["role"])
    else:
        _update(membership, entry, ("role",), "member.updated")


def _write_icp(tenant: Tenant, entry: Json | None, now: datetime) -> None:
    """Publish the configuration if it differs from the newest one; a new tenant gets one anyway."""
    newest = IcpVersion.objects.filter(tenant=tenant).order_by("-number").first()
    if entry is None and newest is not None:
        return
    config = IcpConfig.from_json(entry["config"] if entry else {})
    # As plain values: a database may give the keys of a JSON object back in another order.
    if newest is not None and IcpConfig.from_json(newest.config).to_json() == config.to_json():
        return
    leads.publish_icp(tenant, config, note=(entry or {}).get("note", ""), by=None, now=now)


def _write_connection(tenant: Tenant, entry: Json) -> None:
    row = _connection(tenant, entry["name"])
    if row is None:
        row = Connection.objects.create(
            tenant=tenant,
            kind=entry["kind"],
            name=entry["name"],
            external_id=entry["external_id"],
            settings=entry.get("settings", {}),
        )
        audit.record(row, "connection.created", by=None, kind=row.kind)
    else:
        _update(row, entry, ("external_id", "settings"), "connection.updated")
    token = entry.get("token")
    if token and _token_of(row) != token:
        row.set_secret(token=token)
        audit.record(row, "connection.credential_changed", by=None)


def _token_of(row: Connection) -> str | None:
    from tenants.crypto import CannotOpen

    try:
        return row.reveal().get("token") if row.secret else None
    except CannotOpen:
        return None  # a new one takes its place


def _write_account(tenant: Tenant, entry: Json, now: datetime) -> None:
    connection = Connection.objects.get(tenant=tenant, name=entry["connection"])
    row = SendingAccount.objects.filter(tenant=tenant, handle=entry["handle"]).first()
    values = {name: entry[name] for name in ACCOUNT_FIELDS if name in entry}
    if row is None:
        row = SendingAccount.objects.create(
            tenant=tenant, connection=connection, handle=entry["handle"], **values
        )
        audit.record(row, "account.created", by=None)
    else:
        _update(row, {"connection": connection}, ("connection",), "account.updated")
        accounts.edit_account(row, values, by=None, now=now)


def _write_template(tenant: Tenant, entry: Json, now: datetime) -> None:
    name, body = entry["name"], entry["body"]
    row = Template.objects.filter(tenant=tenant, name=name).first()
    if row is None:
        library.add_template(tenant, name=name, body=body, by=None, now=now)
    else:
        library.edit_template(row, name=name, body=body, by=None, now=now)


def _write_key(tenant: Tenant, entry: Json, now: datetime) -> str:
    """Make the key if there is none of its name; return its text, once, or ''."""
    if ApiKey.objects.filter(tenant=tenant, name=entry["name"]).exists():
        return ""
    made = keys.make_key()
    row = ApiKey.objects.create(
        tenant=tenant,
        name=entry["name"],
        public_id=made.public_id,
        digest=made.digest,
        last_four=made.last_four,
        scopes=sorted(entry["scopes"]),
        created_by=Membership.objects.get(tenant=tenant, user__email=entry["created_by"]),
        expires_at=now + timedelta(days=entry.get("expires_in_days", KEY_DAYS)),
    )
    audit.record(row, "api_key.created", by=None, scopes=row.scopes)
    return made.text
