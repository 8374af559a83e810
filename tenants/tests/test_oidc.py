"""Log-in through an OpenID Connect provider: a real one, on the loopback, that signs its tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests import environment
from agenticos.tests.factories import make_role, make_user
from tenants import inviting
from tenants.models import User

pytestmark = pytest.mark.django_db
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
LOGIN = "/accounts/oidc/oidc/login/"


class Provider:
    """What the provider says next, and what it was asked; `url` is where it listens."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.key: Any = KEY
        self.alg, self.kid = "RS256", "k1"
        self.challenge = ""
        self.tokens_given = 0
        self.token: str | None = ""  # "" is one that it signs
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._say(provider.configuration() if "well-known" in self.path else JWKS)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._say(provider.exchange({k: v[0] for k, v in parse_qs(body).items()}))

            def _say(self, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(400 if "error" in body else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def exchange(self, asked: dict[str, str]) -> dict[str, Any]:
        proof = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        if (
            asked["code"] != "good"
            or asked["client_secret"] != "hush"
            or base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != self.challenge
        ):
            return {"error": "invalid_grant"}
        self.tokens_given += 1
        found = {"access_token": "opaque", "token_type": "Bearer", "id_token": self._id_token()}
        return {name: value for name, value in found.items() if value is not None}

    def _id_token(self) -> str | None:
        if self.token != "":
            return self.token
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": "us", "sub": "77", "iat": now, "exp": now + 300,
            "email": "vera@example.com", "email_verified": True, **self.claims,
        }  # fmt: skip
        return jwt.encode(claims, self.key, self.alg, headers={"kid": self.kid})


JWKS = {
    "keys": [
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k1"},
    ]
}


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    found = Provider()
    threading.Thread(target=found.server.serve_forever, args=(0.01,), daemon=True).start()
    settings.OIDC_SERVER_URL, settings.OIDC_NAME = found.url, "Acme ID"
    app = {
        "provider_id": "oidc", "name": "Acme ID", "client_id": "us", "secret": "hush",
        "settings": {"server_url": found.url, "fetch_userinfo": False},
    }  # fmt: skip
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}
    }
    yield found
    found.server.shutdown()
    found.server.server_close()


def leave(client: Client, provider: Provider, **data: str) -> str:
    """Press the button; return the state that the browser carries to the provider."""
    to = client.post(LOGIN, data)["Location"]
    assert to.startswith(f"{provider.url}/authorize?")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(to).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert "openid" in asked["scope"].split()
    provider.challenge = asked["code_challenge"]
    return asked["state"]


def come_back(client: Client, state: str, **query: str) -> Any:
    asked = {"state": state, "code": "good", **query}
    return client.get("/accounts/oidc/oidc/callback/", asked)


def whom(client: Client) -> User | None:
    pk = client.session.get("_auth_user_id")
    return User.objects.get(pk=pk) if pk else None


def test_without_a_provider_there_is_no_door(db):
    client = Client()
    assert "Log in with a passkey" in client.get("/accounts/login/").content.decode()
    assert "/oidc/" not in client.get("/accounts/login/").content.decode()
    assert client.post(LOGIN).status_code == 404
    assert client.get("/accounts/oidc/oidc/callback/").status_code == 404


def test_a_member_enters_by_their_verified_address(acme, vera, provider):
    client = Client()
    assert "Log in with Acme ID" in client.get("/accounts/login/").content.decode()
    home = reverse("tenant-home", args=["acme"])
    answer = come_back(client, leave(client, provider, next=home))
    assert answer["Location"] == home
    assert whom(client) == vera
    assert client.get(home).status_code == 200
    assert not SocialAccount.objects.exists()  # the address is the link


def test_the_button_is_pressed_and_not_followed(provider):
    assert Client().get(LOGIN).status_code == 405


REFUSALS = {
    "unverified": ({"email_verified": False}, "has not verified"),
    "verified as text": ({"email_verified": "false"}, "has not verified"),
    "verified unsaid": ({"email_verified": None}, "has not verified"),
    "unknown": ({"email": "stranger@example.com"}, "No account here"),
    "no address": ({"email": ""}, "No account here"),
    "audience": ({"aud": "them"}, "could not be verified"),
    "issuer": ({"iss": "https://example.com"}, "could not be verified"),
    "expired": ({"exp": 1}, "could not be verified"),
}


@pytest.mark.parametrize(("claims", "said"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_is_not_proven_opens_nothing(acme, vera, provider, claims, said):
    client, people = Client(), User.objects.count()
    provider.claims = claims
    answer = come_back(client, leave(client, provider))
    assert answer.status_code == 403
    assert said in answer.content.decode()
    assert whom(client) is None
    assert User.objects.count() == people


@pytest.mark.parametrize(
    ("key", "alg", "kid"),
    [
        (OTHER, "RS256", "k1"),
        (OTHER, "RS256", "k2"),
        (None, "none", "k1"),
        ("a shared secret of enough bytes, 32", "HS256", "k1"),
        (KEY, "RS256", ""),
    ],
    ids=["wrong signature", "unknown key", "unsigned", "shared secret", "no key named"],
)
def test_a_token_that_the_provider_did_not_sign_opens_nothing(acme, vera, provider, key, alg, kid):
    provider.key, provider.alg, provider.kid = key, alg, kid
    client = Client()
    answer = come_back(client, leave(client, provider))
    assert answer.status_code == 403
    assert "could not be verified" in answer.content.decode()
    assert provider.tokens_given == 1
    assert whom(client) is None


@pytest.mark.parametrize("token", [None, "x.y.z", "nothing"])
def test_what_is_no_token_opens_nothing(acme, vera, provider, token):
    provider.token = token
    client = Client()
    assert come_back(client, leave(client, provider)).status_code == 403
    assert whom(client) is None


def test_a_state_is_good_once_and_in_its_browser(acme, vera, provider):
    client, other = Client(), Client()
    state = leave(client, provider)
    assert come_back(other, state).status_code == 403
    assert come_back(client, "invented").status_code == 403
    assert come_back(client, state).status_code == 302
    client.logout()
    assert come_back(client, state).status_code == 403
    assert provider.tokens_given == 1


def test_a_code_that_was_given_to_another_log_in_is_refused(acme, vera, provider):
    client = Client()
    state = leave(client, provider)
    provider.challenge = "of another"
    assert come_back(client, state).status_code == 403
    assert come_back(client, leave(client, provider), code="bad").status_code == 403
    assert whom(client) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [("access_denied", "without logging in"), ("server_error", "could not be verified")],
)
def test_who_turns_back_is_told_so(provider, error, said):
    client = Client()
    answer = come_back(client, leave(client, provider), error=error)
    assert said in answer.content.decode()


def test_a_closed_account_stays_closed(acme, vera, provider):
    vera.is_active = False
    vera.save()
    client = Client()
    answer = come_back(client, leave(client, provider))
    assert answer["Location"] == reverse("account_inactive")
    assert whom(client) is None


def test_the_second_factor_of_who_has_one_is_asked(acme, vera, provider):
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(vera, generate_totp_secret())
    client = Client()
    answer = come_back(client, leave(client, provider))
    assert answer["Location"] == reverse("mfa_authenticate")
    assert whom(client) is None


def test_who_lacks_the_second_factor_that_is_demanded_is_led_to_it(acme, vera, provider):
    acme.require_mfa = True
    acme.save()
    client = Client()
    come_back(client, leave(client, provider))
    assert whom(client) == vera
    answer = client.get(reverse("tenant-home", args=["acme"]))
    assert answer["Location"] == reverse("mfa_index")


def test_staff_enter_the_administration_with_their_second_factor_alone(provider, settings):
    settings.REQUIRE_MFA = True
    make_user("sid@example.com", is_staff=True, is_superuser=True)
    provider.claims = {"email": "sid@example.com"}
    client = Client()
    come_back(client, leave(client, provider))
    assert client.get("/admin/")["Location"] == reverse("mfa_index")


def test_a_suspended_tenant_stays_shut(acme, vera, provider):
    acme.suspended_at = timezone.now()
    acme.save()
    client = Client()
    come_back(client, leave(client, provider))
    assert client.get(reverse("tenant-home", args=["acme"])).status_code == 403


def invited(tenant, by, email="new@example.com"):
    with scope.as_tenant(tenant):
        role = make_role(tenant, "leads.edit")
        return inviting.invite(tenant, email, f"custom-{role.pk}", by=by, now=timezone.now())


def test_who_is_invited_enters_as_a_member(acme, alice, provider):
    invited(acme, alice)
    provider.claims = {"email": "New@example.com", "name": "  New\n Person "}
    client = Client()
    assert come_back(client, leave(client, provider)).status_code == 302
    person = whom(client)
    assert (person.email, person.name, person.has_usable_password()) == (
        "new@example.com", "New Person", False,
    )  # fmt: skip
    assert client.get(reverse("tenant-home", args=["acme"])).status_code == 200
    with scope.as_tenant(acme):
        assert person.memberships.get().role_name == "Closer"


@pytest.mark.parametrize("why", ["over", "withdrawn", "suspended", "unverified", "full"])
def test_an_invitation_that_is_not_good_opens_nothing(acme, alice, provider, why):
    row = invited(acme, alice)
    provider.claims = {"email": "new@example.com"}
    if why == "unverified":
        provider.claims["email_verified"] = False
    elif why in ("suspended", "full"):
        acme.suspended_at = timezone.now() if why == "suspended" else None
        acme.max_members = 1
        acme.save()
    with scope.as_tenant(acme):
        if why == "over":
            row.sent_at -= timedelta(days=8)
            row.save()
        elif why == "withdrawn":
            inviting.withdraw(row, by=alice)
    client = Client()
    assert come_back(client, leave(client, provider)).status_code == 403
    assert whom(client) is None
    assert not User.objects.filter(email="new@example.com").exists()


def test_nothing_is_connected_to_who_is_logged_in(acme, alice, vera, browser, provider):
    """Whatever process the browser asks for."""
    client = browser(alice)
    answer = come_back(client, leave(client, provider, process="connect"))
    assert answer.status_code == 403
    assert whom(client) == alice
    assert not SocialAccount.objects.exists()


def test_a_provider_that_is_away_is_said_to_be(provider, settings):
    provider.server.shutdown()
    provider.server.server_close()
    answer = Client().post(LOGIN)
    assert answer.status_code == 503
    assert "does not answer" in answer.content.decode()


# --- Out of the environment -------------------------------------------------------------------

SAID = {
    "OIDC_SERVER_URL": "https://id.example.com/realms/acme", "OIDC_CLIENT_ID": "us",
    "OIDC_CLIENT_SECRET": "hush",
}  # fmt: skip
SHOW = """
import json
import subprocess
import sys
from agenticos import settings
apps = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
print(json.dumps([
    settings.OIDC_NAME,
    settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"],
    [app["settings"]["server_url"] for app in apps],
]))
"""


def started(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=environment.ROOT,
        env={**environment.for_children(), **environment.PRODUCTION, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_its_host_is_where_forms_may_lead():
    name, forms, servers = json.loads(started(**SAID).stdout)
    assert (name, forms) == ("id.example.com", ["'self'", "https://id.example.com"])
    assert servers == ["https://id.example.com/realms/acme"]
    assert json.loads(started(**SAID, OIDC_NAME="Acme ID").stdout)[0] == "Acme ID"


def test_unset_there_is_none():
    assert json.loads(started().stdout) == ["", ["'self'"], []]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({**SAID, "OIDC_SERVER_URL": "http://id.example.com"}, "an https address"),
        ({**SAID, "OIDC_SERVER_URL": "id.example.com"}, "OIDC_SERVER_URL"),
        ({**SAID, "OIDC_CLIENT_SECRET": ""}, "takes OIDC_CLIENT_ID and OIDC_CLIENT_SECRET"),
        ({**SAID, "OIDC_CLIENT_ID": ""}, "takes OIDC_CLIENT_ID and OIDC_CLIENT_SECRET"),
    ],
)
def test_half_of_a_provider_stops_the_start(variables, said):
    done = started(**variables)
    assert done.returncode == 1
    assert said in done.stderr.strip().splitlines()[-1]


def test_staff_set_up_no_provider_in_the_administration():
    from django.contrib import admin

    assert not [model for model in admin.site._registry if model._meta.app_label == "socialaccount"]
