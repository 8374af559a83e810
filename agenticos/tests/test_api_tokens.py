"""Tokens of ten minutes: what is believed, what is not, and that they end with their key."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client
from django.utils import timezone

from agenticos import scope
from agenticos.tests import environment, factories
from agenticos.tests.test_api import code_of, post
from tenants import tokens
from tenants.models import ApiKey, IdempotencyRecord, Membership

pytestmark = pytest.mark.django_db
PATH = "/api/auth/token"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))  # environment.VALUES
OTHER = Ed25519PrivateKey.generate()


def get_token(api, **body):
    answer = post(api, PATH, body)
    assert answer.status_code == 200, answer.content
    return answer.json()["access_token"]


def knock(token, path="/api/v1/leads"):
    return factories.api_client(token).get(path)


def row_of(acme):
    with scope.as_tenant(acme):
        return ApiKey.objects.get()


@pytest.fixture
def claims(acme, api):
    """What a good token of acme's key says."""
    now = datetime.now(UTC)
    return {
        "iss": "agenticos",
        "aud": "agenticos-api",
        "sub": row_of(acme).public_id,
        "tid": acme.pk,
        "scope": "leads:read",
        "iat": now,
        "nbf": now,
        "exp": now + timedelta(minutes=10),
        "jti": uuid.uuid4().hex,
    }


def sign(claims, signer=SIGNER, algorithm="EdDSA", **head):
    headers = {"typ": "at+jwt", "kid": "t1", **head}
    headers = {name: value for name, value in headers.items() if value is not ...}
    return jwt.encode(claims, signer, algorithm, headers=headers)


# --- Getting one ------------------------------------------------------------------------------


def test_a_key_gets_a_token_that_opens_the_same_doors(acme, api):
    lead = factories.make_lead(acme)
    answer = post(api, PATH, {})
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "admin")
    assert answer["Cache-Control"] == "no-store"
    assert knock(body["access_token"]).json()["items"][0]["id"] == lead.pk
    head = jwt.get_unverified_header(body["access_token"])
    assert head == {"alg": "EdDSA", "typ": "at+jwt", "kid": "t1"}
    said = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert set(said) == set(tokens.CLAIMS)
    assert said["exp"] - said["iat"] == 600
    assert (said["sub"], said["tid"]) == (row_of(acme).public_id, acme.pk)


def test_no_body_is_all_scopes(acme):
    api = factories.api_client(factories.make_key(acme, scopes=["leads:read", "icp:read"]))
    assert api.post(PATH, content_type="application/json").json()["scope"] == "icp:read leads:read"


def test_a_token_may_be_narrower_than_its_key_and_never_wider(acme):
    api = factories.api_client(factories.make_key(acme, scopes=["leads:read", "campaigns:read"]))
    token = get_token(api, scope="leads:read")
    assert knock(token).status_code == 200
    assert code_of(knock(token, "/api/campaigns")) == (403, "scope_missing")
    assert code_of(post(api, PATH, {"scope": "leads:write"})) == (403, "scope_missing")
    assert code_of(post(api, PATH, {"scope": "admin"})) == (403, "scope_missing")
    assert code_of(post(api, PATH, {"scope": "everything"})) == (400, "invalid")
    assert code_of(post(api, PATH, {"scopes": "leads:read"})) == (400, "invalid")
    assert code_of(post(api, PATH, {"scope": ""})) == (400, "invalid")


def test_a_token_gets_no_token(api):
    token = get_token(api)
    assert code_of(post(factories.api_client(token), PATH, {})) == (403, "key_required")


def test_a_token_is_stored_nowhere(acme, api):
    answer = post(api, PATH, {}, **{"Idempotency-Key": "k"})
    again = post(api, PATH, {}, **{"Idempotency-Key": "k"})
    assert answer.json()["access_token"] != again.json()["access_token"]
    with scope.as_tenant(acme):
        assert not IdempotencyRecord.objects.exists()


def test_without_signing_keys_there_are_no_tokens(api, settings):
    token = get_token(api)
    settings.JWT_KEYS = ""
    assert code_of(post(api, PATH, {})) == (404, "tokens_off")
    assert code_of(knock(token)) == (401, "invalid_token")


# --- Rotation of the signing keys -------------------------------------------------------------


def key_text(name, secret):
    return f"{name}:{base64.b64encode(secret).decode()}"


def test_the_newest_key_signs_and_the_older_ones_are_believed(api, settings):
    old = get_token(api)
    settings.JWT_KEYS = f"{key_text('j2', bytes(32))},{settings.JWT_KEYS}"
    new = get_token(api)
    assert jwt.get_unverified_header(new)["kid"] == "j2"
    assert (knock(old).status_code, knock(new).status_code) == (200, 200)
    settings.JWT_KEYS = key_text("j2", bytes(32))
    assert (knock(old).status_code, knock(new).status_code) == (401, 200)
    settings.JWT_KEYS = key_text("t1", bytes(32))  # the old name, another key
    assert knock(old).status_code == 401


def test_a_bad_signing_key_stops_the_start():
    for wrong in ("nonsense", "j1:AAAA", ":" + base64.b64encode(bytes(32)).decode()):
        done = environment.run_manage("check", JWT_KEYS=wrong)
        assert done.returncode == 1
        assert "JWT_KEYS is wrong; expected name:base64 of 32 bytes" in done.stderr
    shared = environment.VALUES["CREDENTIAL_KEYS"].replace("t1:", "j1:")
    done = environment.run_manage("check", JWT_KEYS=shared)
    assert "not in CREDENTIAL_KEYS as well" in done.stderr
    assert shared[3:] not in done.stderr


# --- What is not believed ---------------------------------------------------------------------


def test_a_good_token_made_by_hand_is_believed(claims):
    """So that the refusals below are about what they change."""
    assert knock(sign(claims)).status_code == 200


PUBLIC = SIGNER.public_key()
RAW = PUBLIC.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
PEM = PUBLIC.public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def hmac_signed(claims, secret):
    """HS256 with the public key as its secret, which PyJWT itself refuses to make."""
    import hashlib
    import hmac

    plain = {
        name: int(v.timestamp()) if isinstance(v, datetime) else v for name, v in claims.items()
    }
    body = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 't1'})}.{part(plain)}"
    mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def unsigned(claims, algorithm="none", tail=""):
    plain = {
        name: int(v.timestamp()) if isinstance(v, datetime) else v for name, v in claims.items()
    }
    return f"{part({'alg': algorithm, 'typ': 'at+jwt', 'kid': 't1'})}.{part(plain)}.{tail}"


@pytest.mark.parametrize(
    "forge",
    [
        lambda claims: unsigned(claims),
        lambda claims: unsigned(claims, "none", "AAAA"),
        lambda claims: unsigned(claims, "NONE", "AAAA"),
        lambda claims: unsigned(claims, "EdDSA"),
        lambda claims: hmac_signed(claims, RAW),
        lambda claims: hmac_signed(claims, PEM),
        lambda claims: hmac_signed(claims, b""),
        lambda claims: sign(claims, OTHER),
        lambda claims: sign(claims, OTHER, kid="t2"),
        lambda claims: sign(claims, kid="t2"),
        lambda claims: sign(claims, kid=""),
        lambda claims: sign(claims, kid=...),
        lambda claims: sign(claims, kid="../t1"),
        lambda claims: sign(claims, typ="JWT"),
        lambda claims: sign(claims, typ="AT+JWT"),
        lambda claims: sign(claims, typ=None),
        lambda claims: sign(claims, jwk={"kty": "OKP"}),
        lambda claims: sign(claims, jku="https://evil.example/keys"),
        lambda claims: sign(claims, crit=["exp"]),
        lambda claims: sign(claims, b64=False),
    ],
)
def test_a_token_that_others_made_is_refused(claims, forge):
    assert code_of(knock(forge(claims))) == (401, "invalid_token")


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "evil"}, {"aud": "another"}, {"aud": []},
        {"sub": "nobody"}, {"sub": 5}, {"sub": ""}, {"tid": 0}, {"tid": "1"}, {"tid": True},
        {"tid": None}, {"scope": ["leads:read"]}, {"scope": 5},
        {"nbf": timedelta(seconds=90)}, {"iat": timedelta(seconds=90)},
        {"exp": "soon"}, {"jti": 5},
    ],
)  # fmt: skip
def test_a_token_of_ours_that_says_something_else_is_refused(claims, change):
    for name, value in change.items():
        claims[name] = claims["iat"] + value if isinstance(value, timedelta) else value
    assert code_of(knock(sign(claims))) == (401, "invalid_token")


@pytest.mark.parametrize("name", tokens.CLAIMS)
def test_every_claim_is_needed(claims, name):
    del claims[name]
    assert code_of(knock(sign(claims))) == (401, "invalid_token")


def test_an_old_token_says_so_after_the_leeway(claims):
    now = claims["iat"]
    for ago, status in ((timedelta(seconds=20), 200), (timedelta(seconds=40), 401)):
        claims.update(exp=now - ago, iat=now - ago - timedelta(minutes=10))
        claims["nbf"] = claims["iat"]
        assert knock(sign(claims)).status_code == status
    assert code_of(knock(sign(claims))) == (401, "token_expired")
    claims.update(exp=now + timedelta(minutes=10), nbf=now + timedelta(seconds=20))
    assert knock(sign(claims)).status_code == 200


def test_every_changed_character_breaks_it(claims):
    token = sign(claims)
    for at in range(len(token)):
        for other in "Ab-.":
            changed = token[:at] + other + token[at + 1 :]
            if changed != token:
                with pytest.raises(tokens.BadToken):
                    tokens.read(changed)


@pytest.mark.parametrize(
    "text",
    [
        "..", "a.b.c", "a.b.c.d", "ä.b.c", "a.b.c\n", " . . ", "A" * 3000 + ".b.c",
        f"{'W1tb' * 400}.e30.AAAA", "eyJhbGciOjF9.e30.AAAA", "bnVsbA.bnVsbA.AAAA",
        f"{part({'alg': 'EdDSA', 'typ': 'at+jwt', 'kid': {}})}.e30.AAAA",
        f"{part({'alg': 'EdDSA', 'typ': 'at+jwt', 'kid': 't1'})}.bnVsbA.AAAA",
    ],
)  # fmt: skip
def test_garbage_is_no_token(acme, text):
    with pytest.raises(tokens.BadToken):
        tokens.read(text)
    answer = Client(headers={"Authorization": f"Bearer {text}"}).get("/api/v1/leads")
    assert answer.status_code == 401


# --- It ends with its key ---------------------------------------------------------------------


def test_another_tenants_id_in_a_token_opens_nothing(acme, rival, claims):
    claims["tid"] = rival.pk
    assert code_of(knock(sign(claims))) == (401, "invalid_token")


def test_revoking_the_key_ends_its_tokens_at_once(acme, api):
    token = get_token(api)
    assert knock(token).status_code == 200
    with scope.as_tenant(acme):
        ApiKey.objects.update(revoked_at=timezone.now())
    assert code_of(knock(token)) == (401, "key_revoked")


def test_a_key_that_expires_takes_its_tokens_along(acme, api):
    token = get_token(api)
    with scope.as_tenant(acme):
        ApiKey.objects.update(expires_at=timezone.now())
    assert code_of(knock(token)) == (401, "key_expired")


def test_a_role_that_is_lowered_binds_the_token_at_once(acme, api):
    token = get_token(api)
    with scope.as_tenant(acme):
        Membership.objects.update(role="viewer")
    assert code_of(post(factories.api_client(token), "/api/v1/leads", {"handle": "a"})) == (
        403,
        "role_not_enough",
    )


def test_a_removed_member_takes_tokens_along(acme, api):
    token = get_token(api)
    with scope.as_tenant(acme):
        Membership.objects.all().delete()
    assert code_of(knock(token)) == (401, "invalid_token")


def test_a_scope_that_the_key_lost_is_lost_to_its_tokens(acme, api):
    token = get_token(api, scope="leads:read campaigns:read")
    with scope.as_tenant(acme):
        ApiKey.objects.update(scopes=["campaigns:read"])
    assert code_of(knock(token)) == (403, "scope_missing")
    assert knock(token, "/api/campaigns").status_code == 200


def test_a_suspended_tenants_token_is_403(acme, api):
    token = get_token(api)
    acme.suspended_at = timezone.now()
    acme.save()
    assert code_of(knock(token)) == (403, "tenant_suspended")


def test_a_repeat_is_one_whether_by_key_or_by_token(acme, api):
    sent = {"Idempotency-Key": "k1"}
    token = factories.api_client(get_token(api))
    assert post(api, "/api/v1/leads", {"handle": "ana"}, **sent).status_code == 201
    again = post(token, "/api/v1/leads", {"handle": "ana"}, **sent)
    assert again["Idempotent-Replayed"] == "true"
