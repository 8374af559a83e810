"""Suppression: hashed, at once for who is there and for whoever comes later."""

from io import BytesIO

import pytest
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import new_token
from leads import actions, intake
from leads.models import Lead, Suppression
from tenants import crypto
from tenants.models import AuditEntry


@pytest.fixture(autouse=True)
def _in_acme(acme, in_tenant, rung):
    in_tenant(acme)


def run(tenant, text: str) -> None:
    row = actions.start_import(tenant, BytesIO(text.encode()), "x.csv", by=None, now=timezone.now())
    token = new_token()
    assert intake.lease(row, token=token, now=timezone.now())
    while not intake.work_chunk(row, token=token, now=timezone.now()):
        pass


def suppress(tenant, **identities) -> int:
    return actions.suppress(tenant, reason="opted_out", by=None, now=timezone.now(), **identities)


def stopped() -> set[str]:
    return set(Lead.objects.exclude(suppressed_at=None).values_list("handle", flat=True))


FILE = """handle,email,phone
ana,ana@example.com,11 98888-7777
bia,bia@example.com,11 98888-7777
carla,,
"""


def test_leads_with_the_identity_stop_at_once(acme):
    run(acme, FILE)
    assert suppress(acme, handle="@Carla") == 1
    assert suppress(acme, phone="+55 11 98888-7777") == 2
    assert suppress(acme, phone="11988887777", email="ANA@example.com") == 0
    assert stopped() == {"ana", "bia", "carla"}
    assert Suppression.objects.count() == 3
    assert AuditEntry.objects.filter(action="lead.suppressed").count() == 3


def test_who_comes_later_is_stopped_on_arrival(acme):
    suppress(acme, handle="carla")
    suppress(acme, email="bia@example.com")
    run(acme, FILE)
    assert stopped() == {"bia", "carla"}
    suppress(acme, handle="dora")
    actions.ensure_leads(acme, ["dora", "eva"], source="campaign")
    assert stopped() == {"bia", "carla", "dora"}


def test_a_known_lead_stops_when_it_gets_a_suppressed_address(acme):
    run(acme, FILE)
    suppress(acme, email="new@example.com")
    run(acme, "handle,email\ncarla,new@example.com\n")
    assert stopped() == {"carla"}


def test_an_import_never_lifts_a_suppression(acme):
    run(acme, FILE)
    suppress(acme, handle="ana")
    run(acme, "handle,name\nana,New name\n")
    assert stopped() == {"ana"}


def test_it_is_kept_as_a_hash_under_the_tenants_own_key(acme, rival):
    suppress(acme, handle="ana")
    with scope.as_tenant(rival):
        run(rival, FILE)
        assert stopped() == set()
        suppress(rival, handle="ana")
    with scope.as_system("test"):
        digests = set(Suppression.objects.values_list("digest", flat=True))
    assert len(digests) == 2
    assert all(len(digest) == 64 and "ana" not in digest for digest in digests)


def test_the_hash_key_is_stable_and_of_one_tenant(acme, rival):
    key = crypto.hash_key(acme.pk)
    assert len(key) == 32
    assert crypto.hash_key(acme.pk) == key
    assert crypto.hash_key(rival.pk) != key
    crypto.renew_data_key(acme.pk, now=timezone.now())
    assert crypto.hash_key(acme.pk) == key


@pytest.mark.parametrize(
    ("identities", "code"),
    [({}, "no_identity"), ({"email": "not a mail"}, "bad_email"), ({"phone": "12"}, "bad_phone")],
)
def test_what_is_no_identity_is_refused(acme, identities, code):
    with pytest.raises(Refused) as refused:
        suppress(acme, **identities)
    assert refused.value.code == code
    assert not Suppression.objects.exists()
