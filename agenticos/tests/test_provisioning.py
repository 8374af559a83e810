"""`provision`: a file is taken whole or not at all, and a second run of it changes nothing."""

from __future__ import annotations

import copy
import io
import json
from datetime import timedelta

import jsonschema
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agenticos import scope
from agenticos.tests.environment import ROOT
from campaigns.models import SendingAccount, Template
from integrations.models import Connection
from leads.models import IcpVersion
from tenants import keys
from tenants.models import ApiKey, AuditEntry, Membership, Tenant, User

pytestmark = pytest.mark.django_db

FULL = {
    "tenants": [
        {
            "slug": "acme",
            "name": "Acme",
            "time_zone": "America/Recife",
            "language": "en",
            "contact_gap_days": 30,
            "members": [
                {"email": "Owner@Acme.Example", "name": "Ana", "role": "owner"},
                {
                    "email": "viewer@acme.example",
                    "role": "viewer",
                    "password": "a-long-enough-secret",
                },
            ],
            "icp": {"config": {"thresholds": {"hot": 80}}, "note": "stricter"},
            "connections": [
                {
                    "kind": "ghl",
                    "name": "CRM",
                    "external_id": "loc-1",
                    "token": "pit-token-of-acme",
                },
                {"kind": "instagram_graph", "name": "Insta", "external_id": "1784", "token": "EAA"},
            ],
            "accounts": [
                {
                    "handle": "@Acme.Studio",
                    "connection": "Insta",
                    "day_cap": 80,
                    "gap_min_s": 5,
                    "gap_max_s": 9,
                    "jitter_percent": 10,
                    "time_zone": "America/Manaus",
                }
            ],
            "templates": [{"name": "First", "body": "Oi {first_name|você}!"}],
            "api_keys": [
                {
                    "name": "ci",
                    "scopes": ["leads:read", "campaigns:read"],
                    "expires_in_days": 30,
                    "created_by": "owner@acme.example",
                }
            ],
        }
    ]
}


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch):
    for name in ("GHL_API_KEY", "GHL_LOCATION_ID", "INSTAGRAM_SESSION_ID", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path):
    """Run the command on `data`; return its answer and what it said on stderr."""

    def command(data):
        file = tmp_path / "file.json"
        file.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        out, err = io.StringIO(), io.StringIO()
        call_command("provision", str(file), stdout=out, stderr=err)
        return json.loads(out.getvalue()), err.getvalue()

    return command


def changed(path, value):
    """FULL with one value changed; `path` as in `tenants/0/slug`."""
    data = copy.deepcopy(FULL)
    at = data
    *parts, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parts:
        at = at[part]
    if isinstance(at, list) and last == len(at):
        at.append(value)
    else:
        at[last] = value
    return data


def everything():
    """Every row that provisioning writes, as plain values."""
    with scope.as_system("test"):
        return {
            model.__name__: sorted(map(repr, model.objects.values()))
            for model in (
                *(Tenant, User, Membership, IcpVersion, Connection, SendingAccount),
                *(Template, ApiKey, AuditEntry),
            )
        }


def test_a_full_file_makes_everything(run, in_system):
    answer, _ = run(FULL)
    tenant = Tenant.objects.get()
    assert (tenant.slug, tenant.time_zone, tenant.contact_gap_days) == (
        "acme",
        "America/Recife",
        30,
    )
    roles = dict(Membership.objects.values_list("user__email", "role"))
    assert roles == {"owner@acme.example": "owner", "viewer@acme.example": "viewer"}
    assert User.objects.get(email="viewer@acme.example").check_password("a-long-enough-secret")
    assert not User.objects.get(email="owner@acme.example").has_usable_password()
    version = IcpVersion.objects.get()
    assert (version.state, version.note) == ("live", "stricter")
    assert version.config["thresholds"]["hot"] == 80
    assert Connection.objects.get(name="CRM").reveal() == {"token": "pit-token-of-acme"}
    account = SendingAccount.objects.get()
    assert (account.handle, account.day_cap, account.hour_cap) == ("acme.studio", 80, 10)
    assert account.connection.name == "Insta"
    assert Template.objects.get().body == "Oi {first_name|você}!"
    assert set(answer["tenants"]) == {"acme"}
    assert answer["tenants"]["acme"]["slug"] == "acme"


def test_a_key_is_shown_once_and_stored_as_a_hash(run, in_system):
    answer, _ = run(FULL)
    read = keys.read_key(answer["tenants"]["acme"]["api_keys"]["ci"])
    row = ApiKey.objects.get(public_id=read.public_id)
    assert keys.verify(read.secret, row.digest)
    assert row.scopes == ["campaigns:read", "leads:read"]
    assert timedelta(days=29) < row.expires_at - timezone.now() <= timedelta(days=30)
    assert row.created_by.user.email == "owner@acme.example"
    again, _ = run(FULL)
    assert again["tenants"]["acme"]["api_keys"] == {}


def test_a_second_run_changes_nothing(run):
    run(FULL)
    before = everything()
    run(FULL)
    assert everything() == before


def test_a_tenant_without_an_icp_gets_the_default_one(run, in_system):
    run({"tenants": [{"slug": "bare"}]})
    assert IcpVersion.objects.get().number == 1
    run({"tenants": [{"slug": "bare", "name": "Bare"}]})
    assert IcpVersion.objects.count() == 1
    assert Tenant.objects.get().name == "Bare"


def test_what_the_file_names_is_updated_and_the_rest_stays(run, in_system):
    run(FULL)
    run(
        {
            "tenants": [
                {
                    "slug": "acme",
                    "contact_gap_days": 7,
                    "members": [{"email": "viewer@acme.example", "role": "operator"}],
                    "accounts": [{"handle": "acme.studio", "connection": "Insta", "hour_cap": 3}],
                }
            ]
        }
    )
    tenant, account = Tenant.objects.get(), SendingAccount.objects.get()
    assert (tenant.contact_gap_days, tenant.name) == (7, "Acme")
    assert (account.hour_cap, account.day_cap) == (3, 80)
    roles = dict(Membership.objects.values_list("user__email", "role"))
    assert roles == {"owner@acme.example": "owner", "viewer@acme.example": "operator"}


def test_a_changed_icp_publishes_a_new_version(run, in_system):
    run(FULL)
    run(changed("tenants/0/icp/config", {"thresholds": {"hot": 90}}))
    numbers = list(IcpVersion.objects.order_by("number").values_list("number", "state"))
    assert numbers == [(1, "retired"), (2, "live")]


def test_a_new_token_takes_the_place_of_the_old_one(run, in_system):
    run(FULL)
    run(changed("tenants/0/connections/0/token", "pit-a-newer-token"))
    assert Connection.objects.get(name="CRM").reveal() == {"token": "pit-a-newer-token"}


def test_a_person_may_be_in_two_tenants(run, in_system):
    data = copy.deepcopy(FULL)
    data["tenants"].append(
        {"slug": "beta", "members": [{"email": "owner@acme.example", "role": "viewer"}]}
    )
    run(data)
    assert User.objects.filter(email="owner@acme.example").count() == 1
    assert Membership.objects.filter(user__email="owner@acme.example").count() == 2


@pytest.mark.parametrize(
    ("path", "value", "where", "expected"),
    [
        ("tenants/0/nmae", "x", "tenants[0].nmae", "expected one of: accounts, api_keys"),
        ("tenants/0/slug", "Not A Slug", "tenants[0].slug", "lower-case letters"),
        ("tenants/0/slug", 7, "tenants[0].slug", "expected string"),
        ("tenants/0/time_zone", "Mars/Base", "tenants[0].time_zone", "IANA"),
        ("tenants/0/language", "fr", "tenants[0].language", "en, pt-br"),
        ("tenants/0/contact_gap_days", -1, "tenants[0].contact_gap_days", "0 or more"),
        ("tenants/0/members/0/role", "boss", "tenants[0].members[0].role", "owner, manager"),
        ("tenants/0/members/0/email", "nobody", "tenants[0].members[0].email", "e-mail"),
        ("tenants/0/members/1/password", "short", "tenants[0].members[1].password", "12 char"),
        ("tenants/0/members/1/email", "owner@acme.example", "members[1].email", "once"),
        ("tenants/0/icp/config/wieghts", {}, "tenants[0].icp.config.wieghts", "unknown key"),
        (
            "tenants/0/icp/config/thresholds/hot",
            "high",
            "tenants[0].icp.config.thresholds.hot",
            "integer",
        ),
        ("tenants/0/icp/config/thresholds/hot", 10, "tenants[0].icp.config.thresholds", "expected"),
        ("tenants/0/connections/0/kind", "hubspot", "tenants[0].connections[0].kind", "ghl"),
        ("tenants/0/accounts/0/connection", "CRM", "accounts[0].connection", "instagram_graph"),
        ("tenants/0/accounts/0/connection", "None", "accounts[0].connection", "name of a conn"),
        ("tenants/0/accounts/0/gap_max_s", 1, "accounts[0].gap_max_s", "gap_min_s (5) or more"),
        ("tenants/0/accounts/0/handle", "not a handle!", "accounts[0].handle", "handle"),
        ("tenants/0/templates/0/body", "Oi {nmae}", "templates[0].body", "expected a template"),
        ("tenants/0/api_keys/0/scopes", ["all"], "api_keys[0].scopes[0]", "leads:read"),
        ("tenants/0/api_keys/0/expires_in_days", 366, "expires_in_days", "365 or less"),
        ("tenants/0/api_keys/0/created_by", "x@example.com", "created_by", "a member"),
        ("tenants/1", {"slug": "acme"}, "tenants[1].slug", "once"),
        ("tenants/1", {"name": "x"}, "tenants[1]", "'slug'"),
        ("extra", 1, "extra", "tenants"),
    ],
)
def test_a_wrong_file_says_where_and_what_and_changes_nothing(run, path, value, where, expected):
    before = everything()
    with pytest.raises(CommandError) as caught:
        run(changed(path, value))
    assert caught.value.returncode == 2
    assert where in str(caught.value)
    assert expected in str(caught.value)
    assert everything() == before


def test_a_wrong_update_changes_nothing_either(run):
    run(FULL)
    before = everything()
    data = changed("tenants/0/name", "Renamed")
    data["tenants"].append({"slug": "beta", "time_zone": "Mars/Base"})
    with pytest.raises(CommandError):
        run(data)
    assert everything() == before


def test_another_tenants_external_account_is_refused_without_saying_whose(run):
    run(FULL)
    theirs = {"kind": "ghl", "name": "Mine", "external_id": "loc-1"}
    with pytest.raises(CommandError) as caught:
        run({"tenants": [{"slug": "beta", "connections": [theirs]}]})
    assert "connections[0].external_id" in str(caught.value)
    assert "acme" not in str(caught.value).lower()


def test_no_secret_is_shown_in_a_complaint(run):
    with pytest.raises(CommandError) as caught:
        run(changed("tenants/0/connections/0/token", ["pit-very-secret"]))
    assert "pit-very-secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tenants": []}', '{"a": 1, "a": 2}', "null"])
def test_what_is_no_provisioning_file_is_refused(run, text):
    with pytest.raises(CommandError) as caught:
        run(text)
    assert caught.value.returncode == 2


def test_a_missing_file_is_refused():
    with pytest.raises(CommandError) as caught:
        call_command("provision", "/no/such/file.json")
    assert caught.value.returncode == 2


def test_the_environments_defaults_go_into_the_first_tenant_alone(run, monkeypatch, in_system):
    monkeypatch.setenv("GHL_API_KEY", "pit-from-the-environment")
    monkeypatch.setenv("GHL_LOCATION_ID", "loc-env")
    run({"tenants": [{"slug": "first"}, {"slug": "second"}]})
    connection = Connection.objects.get()
    assert (connection.tenant.slug, connection.external_id) == ("first", "loc-env")
    assert connection.reveal() == {"token": "pit-from-the-environment"}
    run({"tenants": [{"slug": "first"}]})
    run({"tenants": [{"slug": "second"}]})
    assert Connection.objects.count() == 1


def test_a_default_that_nothing_uses_is_said(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    _, said = run({"tenants": [{"slug": "first"}]})
    assert "OPENAI_API_KEY" in said
    assert "sk-x" not in said


def test_the_schema_is_published_and_sound():
    out = io.StringIO()
    call_command("provision", "--schema", stdout=out)
    schema = json.loads(out.getvalue())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(FULL, schema)
    assert "thresholds" in schema["$defs"]["icp"]["properties"]["config"]["properties"]


@pytest.mark.parametrize("name", ["acme", "globex"])
def test_the_demos_files_are_sound(run, name):
    run((ROOT / "agenticos" / "demo" / f"{name}.json").read_text(encoding="utf-8"))
