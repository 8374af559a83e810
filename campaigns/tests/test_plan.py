"""What a plan allows: refused where a row is made, exact under races, shown beside what is used."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone, translation

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_key,
    make_lead,
    make_member,
    make_message,
    make_user,
)
from campaigns import accounts, ledger, plan
from campaigns.models import SendingAccount
from campaigns.tests.wires import Wire, work
from leads import actions, editing, intake, staging
from leads.models import ImportProblem, Lead
from tenants.models import ApiKey, AuditEntry, Membership, Tenant

pytestmark = pytest.mark.django_db


def limit(tenant, **fields):
    Tenant.objects.filter(pk=tenant.pk).update(**fields)
    tenant.refresh_from_db()


# --- One by one --------------------------------------------------------------------------------


def test_one_member_too_many_is_refused_in_both_languages(acme, alice, vera):
    limit(acme, max_members=2)
    with pytest.raises(Refused, match="allows 2 members") as refused:
        make_member(acme)
    assert refused.value.code == "plan_limit_members"
    with translation.override("pt-br"), pytest.raises(Refused, match="permite 2 membros"):
        make_member(acme)
    with scope.as_tenant(acme):
        Membership.objects.filter(user=vera).delete()
    make_member(acme)


def test_a_role_is_changed_although_the_plan_is_full(acme, alice, vera):
    limit(acme, max_members=1)
    with scope.as_tenant(acme):
        row = Membership.objects.get(user=vera)
        row.role = "operator"
        row.save()


def test_one_account_too_many_is_refused_before_anything_is_stored(acme, alice):
    limit(acme, max_accounts=1)
    make_account(acme)
    with scope.as_tenant(acme), pytest.raises(Refused) as refused:
        accounts.add_account(
            acme, handle="second", external_id="17841400000000009", token="t" * 20,
            known_as="second", by=alice, now=timezone.now(),
        )  # fmt: skip
    assert refused.value.code == "plan_limit_accounts"
    with scope.as_tenant(acme):
        assert SendingAccount.objects.count() == 1
        assert acme.connections.count() == 1


def test_keys_that_open_nothing_any_more_do_not_count(acme, alice):
    limit(acme, max_api_keys=1)
    member = make_member(acme, "owner")
    make_key(acme, member=member, revoked_at=timezone.now())
    make_key(acme, member=member, expires_at=timezone.now())
    make_key(acme, member=member)
    with pytest.raises(Refused) as refused:
        make_key(acme, member=member)
    assert refused.value.code == "plan_limit_api_keys"


def test_another_tenants_rows_do_not_count(acme, rival, charlie):
    limit(acme, max_members=1, max_leads=1)
    make_member(acme)
    for _ in range(3):
        make_lead(rival)
    with scope.as_tenant(acme):
        editing.add_lead(acme, {"handle": "ana"}, by=None, now=timezone.now())


# --- Leads -------------------------------------------------------------------------------------


def test_an_import_takes_what_there_is_room_for_and_says_so_of_the_rest(acme, alice, rung):
    limit(acme, max_leads=3)
    make_lead(acme, "known")
    text = "handle,name\nknown,New Name\nana,Ana\nbia,Bia\ncarla,Carla\nana,Ana Lima\n"
    now = timezone.now()
    with scope.as_tenant(acme):
        row = actions.start_import(acme, io.BytesIO(text.encode()), "x.csv", by=alice, now=now)
        intake.lease(row, token="t" * 32, now=now)
        assert intake.work_chunk(row, token="t" * 32, now=now)
        assert Lead.objects.count() == 3
        assert (row.created, row.updated + row.unchanged, row.rejected) == (2, 2, 1)
        problem = ImportProblem.objects.get(lead_import=row)
        assert (problem.code, problem.params) == ("plan_limit_leads", {"limit": 3})
        assert Lead.objects.get(handle="known").name == "New Name"


def test_the_dry_run_counts_as_the_commit_does_over_several_chunks(acme, alice, rung, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 2)
    limit(acme, max_leads=3)
    now = timezone.now()
    text = "handle\n" + "".join(f"person{n}\n" for n in range(6))
    with scope.as_tenant(acme):
        file = SimpleUploadedFile("x.csv", text.encode())
        row = staging.stage_import(acme, file, "x.csv", by=alice, now=now)
        staging.start_rehearsal(row, mapping={0: "handle"}, by=alice, now=now)
        found = []
        for _ in range(2):
            intake.lease(row, token="t" * 32, now=now)
            while not intake.work_chunk(row, token="t" * 32, now=now):
                pass
            found.append((row.created, row.rejected))
            if row.state == "ready":
                staging.commit_import(row, by=alice, now=now)
        assert found == [(3, 3), (3, 3)]
        assert Lead.objects.count() == 3


def test_a_program_hears_of_each_row_that_has_no_room(acme, api):
    limit(acme, max_leads=1)
    sent = {"leads": [{"handle": "ana"}, {"handle": "bia"}]}
    found = api.post("/api/v1/leads/bulk", sent, "application/json").json()
    assert (found["created"], found["rejected"]) == (1, 1)
    assert (found["rows"][1]["code"], found["rows"][1]["id"]) == ("plan_limit_leads", None)
    answer = api.post("/api/v1/leads", {"handle": "carla"}, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "plan_limit_leads")


def test_handles_by_hand_are_refused_whole(acme):
    limit(acme, max_leads=1)
    with scope.as_tenant(acme), pytest.raises(Refused) as refused:
        actions.ensure_leads(acme, ["ana", "bia"], source="campaign")
    assert refused.value.code == "plan_limit_leads"
    with scope.as_tenant(acme):
        assert not Lead.objects.exists()


# --- Races -------------------------------------------------------------------------------------


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["members", "api_keys", "accounts", "leads"])
def test_of_twelve_at_once_exactly_as_many_are_made_as_the_plan_allows(acme, kind):
    limit(acme, **{f"max_{kind}": 5})
    owner = make_member(acme, "owner") if kind == "api_keys" else None
    people = [make_user() for _ in range(12)]
    codes: list[str] = []
    begin = threading.Barrier(12)

    def make(number):
        try:
            begin.wait()
            with scope.as_tenant(acme):
                if kind == "members":
                    make_member(acme, user=people[number])
                elif kind == "api_keys":
                    make_key(acme, member=owner)
                elif kind == "accounts":
                    make_account(acme)
                else:
                    now = timezone.now()
                    editing.add_lead(acme, {"handle": f"lead{number}"}, by=None, now=now)
            codes.append("made")
        except Refused as error:
            codes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=make, args=[n]) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == sorted(["made"] * 5 + [f"plan_limit_{kind}"] * 7)


# --- Changed and shown -------------------------------------------------------------------------


def test_a_raised_cap_lets_waiting_accounts_go_on_the_same_day(acme, alice, clock, rung):
    limit(acme, max_messages_day=1)
    campaign = make_campaign(acme, state="running")
    for _ in range(3):
        make_message(campaign, due_at=clock.now())
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk], clock.now())
    wire = Wire()
    work(clock, wire)
    assert len(wire.sent) == 1
    with scope.as_system("test"):
        assert plan.edit_plan(acme, {"max_messages_day": 2}, by=alice, now=clock.now())
        assert not plan.edit_plan(acme, {"max_messages_day": 2}, by=alice, now=clock.now())
    work(clock, wire)
    assert len(wire.sent) == 2
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="tenant.plan_changed")
    assert entry.data == {"before": {"max_messages_day": 1}, "after": {"max_messages_day": 2}}


def test_the_settings_show_what_is_used_of_the_plan(acme, alice, vera, browser):
    page = browser(alice).get("/t/acme/settings/").content.decode()
    assert 'id="plan"' not in page
    limit(acme, plan="Starter", max_members=2, max_leads=500)
    make_lead(acme)
    page = browser(alice).get("/t/acme/settings/").content.decode()
    assert "Starter" in page
    assert "2 / 2" in page
    assert "1 / 500" in page
    assert "Sending accounts" not in page.split('id="plan"')[1].split("</section>")[0]


def test_a_new_key_shows_in_the_count(acme):
    limit(acme, max_api_keys=4)
    make_key(acme)
    with scope.as_tenant(acme):
        assert [(one.used, one.limit) for one in plan.lines(acme, timezone.now())] == [(1, 4)]
        assert ApiKey.counted(acme.pk) == 1
