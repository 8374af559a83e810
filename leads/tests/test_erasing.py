"""Erasing a person: nothing of them is left anywhere, and the ledger still adds up."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import models
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import timezone

from agenticos import invariants, scope
from agenticos.errors import Refused
from agenticos.tests import factories
from campaigns import actions as campaign_actions
from campaigns.claiming import claim, lease_accounts
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount, TestSend
from integrations.models import Connection, ExternalId
from leads import actions, editing, erasing, exporting, rescoring, subject
from leads.drafts import stored
from leads.models import (
    BulkJob,
    BulkRow,
    ImportedLead,
    ImportProblem,
    Lead,
    LeadImport,
    LeadTag,
    SavedView,
    Suppression,
)
from leads.traces import Person
from tenants.models import ApiKey, AuditEntry, IdempotencyRecord, Notification, Tenant

pytestmark = pytest.mark.django_db

MARK = "zqxmarker"
EMAIL, PHONE = f"{MARK}@example.com", "+5511988887777"
CRM_ID, SCOPED_ID = f"ghl{MARK}", "178414000000001"
MARKS = (MARK, PHONE, "11988887777", SCOPED_ID)


@pytest.fixture
def acme(in_tenant: Any) -> Tenant:
    tenant = factories.make_tenant("acme")
    in_tenant(tenant)
    return tenant


def make_person(tenant: Tenant, **fields: Any) -> Lead:
    names = ("name", "bio", "category", "frequency", "city", "website", "source")
    texts: dict[str, Any] = {name: f"{MARK} {name}"[:40] for name in names}
    lead = factories.make_lead(
        tenant,
        MARK,
        email=EMAIL,
        phone=PHONE,
        ghl_id=CRM_ID,
        instagram_scoped_id=SCOPED_ID,
        **texts,
        **fields,
    )
    engines = rescoring.engines_in_use(rescoring.lock_icp())
    rescoring.write_scores(stored(Lead.objects.filter(pk=lead.pk)), engines)
    return lead


def make_import(tenant: Tenant, content: bytes, **fields: Any) -> LeadImport:
    now = timezone.now()
    given = {"state": "done", "committed_at": now, "finished_at": now, **fields}
    row = LeadImport(tenant=tenant, **{"file_name": "leads.csv", **given})
    row.file.save("leads.csv", ContentFile(content), save=False)
    row.save()
    return row


def plant(tenant: Tenant) -> Lead:
    """A person who has left a mark in every place that can hold one."""
    now = timezone.now()
    lead = make_person(tenant)
    LeadTag.objects.create(lead=lead, name=f"{MARK} tag")
    account = factories.make_account(tenant, block_detail=f"no inbox for @{MARK}.")
    SendingAccount.objects.filter(pk=account.pk).update(test_recipient=MARK)
    said = {"text": f"Oi {MARK}", "error": f"{MARK} said no", "sentence": MARK}
    for state in ("queued", "claimed", "sent", "failed", "unknown", "skipped", "cancelled"):
        campaign = factories.make_campaign(
            tenant,
            accounts=[account],
            state="finished" if state == "sent" else "paused",
            audience={"kind": "handles", "handles": [f"@{MARK}", "somebody.else"]},
            reason_detail=f"{EMAIL} is gone",
        )
        whose = {"account": account, "claimed_at": now} if state == "claimed" else {}
        factories.make_message(campaign, lead, state, **said, provider_id=f"mid.{MARK}", **whose)
    TestSend.objects.create(
        account=account, key="1" * 32, recipient=MARK, state="failed", text_hash="0" * 64,
        error=MARK, provider_id=MARK,
    )  # fmt: skip
    crm = factories.make_connection(tenant, Connection.Kind.GHL, trouble_detail=f"no {EMAIL} here")
    key = f"lead:{lead.pk}"
    factories.make_sync_item(
        crm, key, wanted={"handle": MARK}, done={"handle": MARK}, error=MARK, state="failed",
        discard_reason=MARK,
    )  # fmt: skip
    ExternalId.objects.create(connection=crm, key=key, external_id=CRM_ID)
    begun = make_import(
        tenant, f"handle,name\n{MARK},x\n".encode(), file_name=f"{MARK}.csv", headers=[MARK, "x"]
    )
    make_import(tenant, f'"nome";"perfil"\n"x";"https://instagram.com/{MARK}/"\n'.encode("utf-16"),
                dialect={"encoding": "utf-16"}, error_params={"value": MARK})  # fmt: skip
    ImportedLead.objects.create(
        lead_import=begun, lead=lead, handle=MARK, fate="updated", at=now, ghl_id=CRM_ID,
        before={"name": MARK}, after={"name": f"{MARK} two"},
    )  # fmt: skip
    ImportProblem.objects.create(
        lead_import=begun, line=2, rejected=False, code="bad_email", params={"value": MARK},
        raw=[f"@{MARK.upper()}", f"{MARK} Silva", "(11) 98888-7777"],
    )  # fmt: skip
    job = BulkJob.objects.create(
        kind="export", state="done", created_at=now, folder="f1", expires_at=now,
        query=f"q={MARK}&band=HOT", params={"tag": MARK}, error=f"@{MARK}: no",
    )  # fmt: skip
    job.parts = [exporting.store_part("f1", f"{MARK}\n".encode())]
    job.save()
    BulkRow.objects.create(job=job, lead=lead, outcome="done")
    owner = factories.make_member(tenant, "owner")
    SavedView.objects.create(owner=owner.user, name="mine", query=f"q={MARK}%40example.com")
    Notification.objects.create(kind="x", subject=1, params={"who": MARK}, created_at=now)
    factories.make_key(tenant, member=owner)
    IdempotencyRecord.objects.create(
        api_key=ApiKey.objects.get(), key="k", method="POST", path=f"/api/v1/leads?x={MARK}",
        body="0" * 64, status=201, created_at=now,
        answer=json.dumps({"handle": MARK, "name": f"{MARK} name", "phone": PHONE}),
    )  # fmt: skip
    editing.edit_lead(lead, {"city": f"{MARK} town"}, by=None, now=now)
    return lead


def left_in_tables() -> list[str]:
    """Every text and JSON column of ours, in every row, that has a mark."""
    found = []
    with scope.as_system("a test looks everywhere"):
        for model in apps.get_models(include_auto_created=True):
            for field in model._meta.concrete_fields:
                if not isinstance(field, models.CharField | TextField | models.JSONField):
                    continue
                rows = model._base_manager.annotate(as_text=Cast(field.name, TextField()))
                for mark in MARKS:
                    if rows.filter(as_text__icontains=mark).exists():
                        found.append(f"{model.__name__}.{field.name}: {mark}")
    return found


def left_in_files(folder: str = "") -> list[str]:
    folders, names = default_storage.listdir(folder)
    found = []
    for name in names:
        with default_storage.open(f"{folder}/{name}") as file:
            content = file.read().replace(b"\x00", b"")
        if any(mark.encode() in content for mark in MARKS):
            found.append(name)
    for each in folders:
        found += left_in_files(f"{folder}/{each}" if folder else each)
    return found


def broken() -> dict[str, int]:
    with scope.as_system("test"):
        outcomes = invariants.check(full=True)
    return {one.invariant.name: one.violations for one in outcomes if one.violations}


def erase(lead: Lead) -> erasing.Receipt:
    return erasing.erase_person(lead, by=None, now=timezone.now())


def test_nothing_of_an_erased_person_is_left_in_any_table_or_file(acme: Tenant) -> None:
    lead = plant(acme)
    assert len(left_in_tables()) > 40
    assert len(left_in_files()) == 3
    receipt = erase(lead)
    assert left_in_tables() == []
    assert left_in_files() == []
    assert receipt.to_json() == {
        "lead": lead.pk,
        "suppressed": ["handle", "email", "phone"],
        "crm_contacts": 1,
        "crm_ids": [CRM_ID],
        "removed": receipt.removed,
    }
    assert (receipt.removed["messages"], receipt.removed["files"]) == (7, 3)
    entry = AuditEntry.objects.get(action="lead.erased")
    assert (entry.object_id, entry.data["crm_contacts"]) == (lead.pk, 1)


def test_the_ledger_and_its_counters_still_add_up(acme: Tenant) -> None:
    lead = plant(acme)
    touched = Message.objects.get(state="sent")
    Lead.objects.filter(pk=lead.pk).update(first_touch_at=timezone.now(), first_touch_by=touched.pk)
    before = broken()
    erase(lead)
    assert broken() == before == {}
    states = Message.objects.order_by("pk").values_list("state", "reason")
    assert sorted(states) == [
        ("cancelled", ""), ("failed", ""), ("sent", ""), ("skipped", ""),
        *[("skipped", "lead_removed")] * 3,
    ]  # fmt: skip
    assert all(counts.sums for counts in CampaignCounts.objects.all())
    row = Lead.objects.get(pk=lead.pk)
    assert (row.handle[:7], row.is_erased, row.suppressed_at is None) == ("erased-", True, False)
    assert row.first_touch_by == touched.pk
    audience = Campaign.objects.first().audience  # type: ignore[union-attr]  # there is one
    assert audience["handles"] == [row.handle, "somebody.else"]


def test_a_namesake_keeps_everything(acme: Tenant) -> None:
    """A handle that is a common word takes nothing from other people."""
    lead = factories.make_lead(acme, "maria", name="Maria")
    other = factories.make_lead(acme, "maria.lima", name="Maria Lima", bio="maria")
    begun = make_import(acme, b"handle,name\nmaria.lima,Maria Lima\nmariana,Ana\n")
    problem = ImportProblem.objects.create(
        lead_import=begun, line=2, rejected=False, code="x", raw=["maria.lima", "Maria Lima"]
    )
    view = SavedView.objects.create(
        owner=factories.make_user(), name="mine", query="q=maria.lima&tag=a+b"
    )
    erase(lead)
    other.refresh_from_db()
    problem.refresh_from_db()
    view.refresh_from_db()
    assert (other.name, other.bio, other.suppressed_at) == ("Maria Lima", "maria", None)
    assert problem.raw == ["maria.lima", "Maria Lima"]
    assert view.query == "q=maria.lima&tag=a+b"
    assert default_storage.exists(begun.file.name)


@pytest.mark.parametrize("spelled", ["maria", "@Maria", "https://www.instagram.com/maria/?hl=pt"])
def test_every_spelling_of_a_handle_is_the_person(spelled: str) -> None:
    person = Person("maria", ("maria@example.com", "+5511988887777"), "erased-1")
    assert person.replaced({"a": [spelled, "mariana"]}) == {"a": ["erased-1", "mariana"]}
    assert person.replaced("(11) 98888-7777") == "erased-1"
    assert person.in_words("no @maria. or mariana") == "no erased-1. or mariana"


def test_it_is_refused_while_a_message_is_in_flight(acme: Tenant) -> None:
    lead = make_person(acme)
    campaign = factories.make_campaign(acme, state="running")
    message = factories.make_message(campaign, lead, "claimed", dispatched_at=timezone.now())
    with pytest.raises(Refused) as refusal:
        erase(lead)
    assert refusal.value.code == "in_flight"
    assert Lead.objects.get(pk=lead.pk).handle == MARK
    assert Message.objects.get(pk=message.pk).state == "claimed"
    assert not Suppression.objects.exists()


def test_it_is_refused_while_the_crm_is_being_told(acme: Tenant) -> None:
    lead = make_person(acme)
    crm = factories.make_connection(acme, Connection.Kind.GHL)
    factories.make_sync_item(
        crm, f"lead:{lead.pk}", state="claimed", claim_token="t", lease_until=timezone.now()
    )
    with pytest.raises(Refused, match="under way"):
        erase(lead)


@pytest.mark.parametrize(
    ("state", "code"),
    [("running", "in_flight"), ("draft", "import_open"), ("ready", "import_open")],
)
def test_it_is_refused_while_an_open_import_holds_them(acme: Tenant, state: str, code: str) -> None:
    lead = make_person(acme)
    make_import(acme, f"handle\n{MARK}\n".encode(), state=state, finished_at=None)
    with pytest.raises(Refused) as refusal:
        erase(lead)
    assert refusal.value.code == code


def test_it_is_done_once(acme: Tenant) -> None:
    lead = make_person(acme)
    erase(lead)
    with pytest.raises(Refused) as refusal:
        erase(lead)
    assert refusal.value.code == "erased"


def test_nothing_comes_back_to_the_skeleton(acme: Tenant) -> None:
    lead = make_person(acme)
    erase(lead)
    now = timezone.now()
    for change in (
        lambda: editing.edit_lead(lead, {"name": "Ana"}, by=None, now=now),
        lambda: editing.free_lead(lead, by=None, now=now),
    ):
        with pytest.raises(Refused) as refusal:
            change()
        assert refusal.value.code == "erased"


@pytest.mark.parametrize("known", ["handle", "email", "phone"])
def test_an_erased_person_who_comes_back_is_not_writable(acme: Tenant, known: str) -> None:
    """By import, by a program and by a campaign's list of handles, under any one identity."""
    erase(make_person(acme))
    now = timezone.now()
    row = {"handle": MARK} if known == "handle" else {"handle": "new.name"}
    row |= {"email": EMAIL} if known == "email" else {"phone": PHONE} if known == "phone" else {}
    (outcome,) = editing.upsert_leads(acme, [row], by=None, now=now)
    lead = Lead.objects.get(handle=outcome.handle)
    assert lead.suppressed_at is not None
    # A campaign that has them in its queue skips them in the claim.
    campaign = factories.make_campaign(acme, state="running")
    message = factories.make_message(campaign, lead)
    SendingAccount.objects.update(next_at=now)
    now += timedelta(minutes=1)
    leased = lease_accounts(now, token="t", owner="o")
    held = claim(leased[acme.pk], now, token="t", owner="o", limit=10).held
    message.refresh_from_db()
    assert (held, message.state, message.reason) == ([], "skipped", "suppressed")


def test_an_erased_person_in_a_file_is_not_writable(acme: Tenant, rung: Any) -> None:
    erase(make_person(acme))
    content = f"handle,email\nother.handle,{EMAIL}\n{MARK},\n"
    file = default_storage.path("new.csv")
    default_storage.save("new.csv", ContentFile(content.encode()))
    call_command("import_leads", "acme", file, stdout=StringIO(), stderr=StringIO())
    leads = Lead.objects.filter(handle__in=["other.handle", MARK])
    assert len(leads) == 2
    assert all(lead.suppressed_at for lead in leads)


def test_an_erased_person_on_a_list_of_handles_is_not_writable(acme: Tenant) -> None:
    erase(make_person(acme))
    ids = actions.ensure_leads(acme, [MARK], source="campaign")
    assert Lead.objects.get(pk=ids[MARK]).suppressed_at


def test_a_failed_message_that_is_retried_never_leaves(acme: Tenant, rung: Any) -> None:
    lead = make_person(acme)
    campaign = factories.make_campaign(acme, state="running")
    message = factories.make_message(campaign, lead, "failed")
    erase(lead)
    now = timezone.now()
    campaign_actions.retry_message(message, by=None, now=now)
    leased = lease_accounts(now, token="t", owner="o")
    assert claim(leased[acme.pk], now, token="t", owner="o", limit=10).held == []
    message.refresh_from_db()
    assert (message.state, message.reason) == ("skipped", "suppressed")


def test_another_tenant_loses_nothing(acme: Tenant) -> None:
    rival = factories.make_tenant("rival")
    with scope.as_tenant(rival):
        theirs = make_person(rival)
        Notification.objects.create(
            kind="x", subject=1, params={"who": MARK}, created_at=timezone.now()
        )
    erase(make_person(acme))
    with scope.as_tenant(rival):
        theirs.refresh_from_db()
        assert (theirs.handle, theirs.suppressed_at) == (MARK, None)
        assert Notification.objects.get().params == {"who": MARK}


# --- Export -----------------------------------------------------------------------------------


def test_an_export_holds_the_person_and_nobody_else(acme: Tenant) -> None:
    other = factories.make_lead(acme, "stranger", email="stranger@example.com", name="Strange")
    campaign = factories.make_campaign(acme)
    factories.make_message(campaign, other, "sent", text="Hello stranger")
    lead = plant(acme)
    text = subject.as_json(subject.export_subject(lead, by=None, now=timezone.now()))
    said = json.loads(text)
    assert "stranger" not in text.lower()
    assert said["profile"]["email"] == EMAIL
    assert {row["state"] for row in said["messages"]} == {
        "queued", "claimed", "sent", "failed", "unknown", "skipped", "cancelled",
    }  # fmt: skip
    assert said["messages"][0]["text"] == f"Oi {MARK}"
    assert said["tags"] == [f"{MARK} tag"]
    assert said["crm"]["contacts"] == [CRM_ID]
    assert said["imports"][0]["after"] == {"name": f"{MARK} two"}
    assert AuditEntry.objects.get(action="lead.subject_exported").data == {}


# --- Commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [f"@{MARK}", EMAIL, "(11) 98888-7777"])
def test_the_command_prints_a_receipt(acme: Tenant, who: str) -> None:
    lead = make_person(acme)
    out = StringIO()
    call_command("erase_person", "acme", who, stdout=out)
    (receipt,) = json.loads(out.getvalue())
    assert (receipt["lead"], receipt["crm_ids"]) == (lead.pk, [CRM_ID])
    assert left_in_tables() == []


@pytest.mark.parametrize(("tenant", "who", "status"), [("acme", "no.body", 1), ("no", MARK, 2)])
def test_the_command_says_when_there_is_nobody(
    acme: Tenant, tenant: str, who: str, status: int
) -> None:
    for name in ("erase_person", "export_person"):
        with pytest.raises(CommandError) as error:
            call_command(name, tenant, who)
        assert error.value.returncode == status


def test_the_command_asks_which_of_several(acme: Tenant) -> None:
    factories.make_lead(acme, "one", email="clinic@example.com")
    factories.make_lead(acme, "two", email="clinic@example.com")
    with pytest.raises(CommandError, match="@one, @two"):
        call_command("erase_person", "acme", "clinic@example.com")
    out = StringIO()
    call_command("erase_person", "acme", "clinic@example.com", "--all", stdout=out)
    assert len(json.loads(out.getvalue())) == 2


def test_the_command_exports(acme: Tenant) -> None:
    make_person(acme)
    out = StringIO()
    call_command("export_person", "acme", MARK, stdout=out)
    assert json.loads(out.getvalue())["profile"]["phone"] == PHONE
