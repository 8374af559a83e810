"""ICP versions: scored beside the old one, switched at once, with nobody left out."""

import threading
from io import BytesIO

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st

from agenticos import leasing, scope, sql
from agenticos.errors import Refused
from agenticos.leasing import new_token
from leads import actions, drafts, intake, rescoring, tasks
from leads.models import Icp, IcpVersion, Lead, LeadScore
from leads.scoring import IcpConfig, score
from tenants.models import AuditEntry

STRICT = {"thresholds": {"hot": 90, "warm": 80, "cold": 60}, "weights": {"bio": 70, "recency": 0}}


@pytest.fixture(autouse=True)
def _in_acme(acme, in_tenant, rung):
    in_tenant(acme)


def publish(tenant, config=None) -> IcpVersion:
    return actions.publish_icp(tenant, config or STRICT, by=None, now=timezone.now())


def leads(tenant, count: int, prefix: str = "lead") -> None:
    actions.ensure_leads(tenant, [f"{prefix}{n}" for n in range(count)], source="test")


def lease(version) -> str:
    token = new_token()
    version.refresh_from_db()
    assert rescoring.lease(version, token=token, now=timezone.now())
    return token


def live() -> IcpVersion:
    return Icp.objects.select_related("live").get().live


def everybody_is_scored(version) -> bool:
    config = IcpConfig.from_json(version.config)
    for lead in Lead.objects.all():
        stored = LeadScore.objects.get(lead=lead, version=version)
        expected = score(drafts.profile_of(lead), config)
        assert (stored.total, stored.band, stored.eligible, stored.reason) == (
            expected.total,
            expected.band.name,
            expected.eligible,
            expected.ineligible_reason,
        )
        assert stored.breakdown == expected.breakdown
        assert sum(line[1] for line in stored.breakdown) == stored.total
    return True


def test_the_first_version_of_a_tenant_without_leads_is_live_at_once(acme, rung):
    version = publish(acme)
    assert (version.number, version.state, live()) == (1, "live", version)
    assert rung == []
    assert version.config["thresholds"]["hot"] == 90
    assert version.config["thresholds"].keys() == {"hot", "warm", "cold"}


def test_ensure_icp_makes_one_version_and_then_gives_it_back(acme):
    first = actions.ensure_icp(acme, now=timezone.now())
    assert actions.ensure_icp(acme, now=timezone.now()) == first
    assert IcpConfig.from_json(first.config) == IcpConfig()


def test_the_old_scores_serve_until_all_are_scored_and_then_all_switch(acme, rung, monkeypatch):
    monkeypatch.setattr(rescoring, "CHUNK", 4)
    leads(acme, 10)
    old = live()
    new = publish(acme)
    assert (new.state, live()) == ("scoring", old)
    assert ("leads.tasks.rescore_slice", ()) in rung
    token = lease(new)
    assert not rescoring.rescore_chunk(new, token=token, now=timezone.now())
    assert (new.scored, live()) == (4, old)
    assert not rescoring.rescore_chunk(new, token=token, now=timezone.now())
    assert rescoring.rescore_chunk(new, token=token, now=timezone.now())
    assert live() == new
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.state, new.state, new.scored, new.lease_until) == ("retired", "live", 10, None)
    assert everybody_is_scored(new)
    assert AuditEntry.objects.filter(action="icp.live", object_id=new.pk).exists()


def test_one_version_at_a_time_and_no_bad_one(acme):
    leads(acme, 1)
    publish(acme)
    with pytest.raises(Refused) as refused:
        publish(acme)
    assert refused.value.code == "icp_scoring"
    with pytest.raises(Refused) as refused:
        publish(acme, {"weights": {"bio": -1}})
    assert refused.value.code == "bad_icp"
    assert "weights.bio" in str(refused.value)
    assert IcpVersion.objects.count() == 2


@pytest.mark.parametrize("import_after", [0, 1, 2, 3])
def test_who_comes_in_while_a_version_is_scored_has_both_scores(acme, monkeypatch, import_after):
    monkeypatch.setattr(intake, "CHUNK", 3)
    monkeypatch.setattr(rescoring, "CHUNK", 3)
    leads(acme, 8)
    new = publish(acme)
    token = lease(new)
    text = b"handle,bio,followers\nlead1,CEO de startup,900\nfresh1,Dentista,10\nfresh2,,20\n"
    row = actions.start_import(acme, BytesIO(text), "x.csv", by=None, now=timezone.now())
    import_token = new_token()
    assert intake.lease(row, token=import_token, now=timezone.now())
    done = False
    for number in range(6):
        if number == import_after:
            while not intake.work_chunk(row, token=import_token, now=timezone.now()):
                pass
        done = done or rescoring.rescore_chunk(new, token=token, now=timezone.now())
    assert done
    assert (live(), row.created, row.updated) == (new, 2, 1)
    assert everybody_is_scored(new)


def test_a_version_published_while_an_import_runs_scores_all_of_it(acme, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 2)
    monkeypatch.setattr(rescoring, "CHUNK", 2)
    text = b"handle,bio\n" + b"".join(b"lead%d,CEO\n" % n for n in range(7))
    row = actions.start_import(acme, BytesIO(text), "x.csv", by=None, now=timezone.now())
    token = new_token()
    assert intake.lease(row, token=token, now=timezone.now())
    assert not intake.work_chunk(row, token=token, now=timezone.now())
    new = publish(acme)
    tasks.rescore_slice()
    assert live() == new
    while not intake.work_chunk(row, token=token, now=timezone.now()):
        pass
    assert Lead.objects.count() == 7
    assert everybody_is_scored(new)


def test_a_rescoring_killed_anywhere_goes_on_to_the_same_result(acme, monkeypatch):
    monkeypatch.setattr(rescoring, "CHUNK", 3)
    leads(acme, 8)
    new = publish(acme)

    class Killed(BaseException):
        pass

    for kill_at in range(1, 60):
        IcpVersion.objects.update(lease_until=None)  # the dead worker's lease has ended
        token, seen = lease(new), 0

        def bomb(execute, sql, params, many, context, kill_at=kill_at):
            nonlocal seen
            seen += 1
            if seen == kill_at:
                raise Killed
            return execute(sql, params, many, context)

        try:
            with connection.execute_wrapper(bomb):
                while not rescoring.rescore_chunk(new, token=token, now=timezone.now()):
                    pass
        except Killed:
            continue
        break
    assert (live(), new.scored, kill_at > 10) == (new, 8, True)
    assert everybody_is_scored(new)


def test_the_number_of_statements_grows_by_one_for_each_part_of_the_leads(acme):
    def statements() -> int:
        new = publish(acme, {"thresholds": {"hot": 71 + IcpVersion.objects.count()}})
        token = lease(new)
        with CaptureQueriesContext(connection) as queries:
            assert rescoring.rescore_chunk(new, token=token, now=timezone.now())
        return len(queries)

    leads(acme, 10)
    few, parts = statements(), 1_000 // rescoring.PART
    assert few <= 15
    leads(acme, 990)
    assert statements() == few + parts - 1


def test_slices_do_all_of_it_and_sweep_scores_nobody_looks_back_to(acme, rival, rung, monkeypatch):
    monkeypatch.setattr(rescoring, "PRUNE", 3)
    with scope.as_tenant(rival):
        leads(rival, 2)
    leads(acme, 5)
    first = live()
    for _ in range(3):
        publish(acme)
        with scope.as_nobody():
            tasks.rescore_slice()
    assert tasks.next_rescore_at() is None
    numbers = LeadScore.objects.values_list("version__number", flat=True)
    assert sorted(numbers) == [3] * 5 + [4] * 5  # the live one and the one before it
    first.refresh_from_db()
    assert first.pruned_at
    assert everybody_is_scored(live())
    with scope.as_tenant(rival):
        assert LeadScore.objects.count() == 2
        assert live().number == 1


def test_the_next_rescoring_is_due_now_or_when_a_lease_ends(acme):
    assert tasks.next_rescore_at() is None
    leads(acme, 1)
    new = publish(acme)
    assert tasks.next_rescore_at() <= timezone.now()
    lease(new)
    new.refresh_from_db()
    assert tasks.next_rescore_at() == new.lease_until


def test_a_worker_whose_lease_was_taken_over_scores_nothing(acme):
    leads(acme, 1)
    new = publish(acme)
    lease(new)
    with pytest.raises(leasing.LeaseLost):
        rescoring.rescore_chunk(new, token="old", now=timezone.now())
    assert not LeadScore.objects.filter(version=new).exists()


NUMBER = st.none() | st.integers(0, 200_000)
FLAG = st.none() | st.booleans()
TEXT = st.sampled_from(["", "CEO", "Dra. Ana", "Sócia · clínica em São Paulo", "pão 🍞", "ativo"])
LEAD = st.fixed_dictionaries(
    {
        "name": TEXT,
        "bio": TEXT,
        "followers": NUMBER,
        "following": NUMBER,
        "posts": NUMBER,
        "recent_posts": NUMBER,
        "engagement": st.none() | st.decimals(0, 1_000, places=2),
        "is_private": FLAG,
        "is_business": FLAG,
        "category": TEXT,
        "frequency": TEXT,
    }
)


@hypothesis(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(LEAD, min_size=1, max_size=8))
def test_what_is_stored_is_what_the_scoring_says(acme, rows):
    Lead.objects.all().delete()
    actions.ensure_icp(acme, now=timezone.now())
    made = Lead.objects.bulk_create(
        Lead(tenant=acme, handle=f"lead{number}", **row) for number, row in enumerate(rows)
    )
    actions.score_leads([lead.pk for lead in made])
    publish(acme)
    tasks.rescore_slice()
    assert everybody_is_scored(live())


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_who_writes_leads_before_any_version_is_in_force_takes_turns_as_well(acme):
    assert not Icp.objects.exists()
    met: list[bool] = []

    def wait_in_vain() -> None:
        try:
            with scope.as_tenant(acme), transaction.atomic(), sql.waiting_at_most(0.1):
                rescoring.lock_icp()
        except OperationalError:
            met.append(True)
        finally:
            connection.close()

    with transaction.atomic():
        rescoring.lock_icp()
        other = threading.Thread(target=wait_in_vain)
        other.start()
        other.join()
    assert met
