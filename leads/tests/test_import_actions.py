"""Imports: one fate per row, a fixed number of statements, the same result after any kill."""

from io import BytesIO

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenticos import leasing, scope
from agenticos.errors import Refused
from agenticos.leasing import new_token
from leads import actions, drafts, intake, rescoring, tasks
from leads.models import Icp, ImportProblem, Lead, LeadImport, LeadScore, LeadTag
from leads.scoring import IcpConfig, scorer_for

HEADER = "handle,name,bio,followers,following,engagement,is_private,email,phone,ghl_id\n"
COUNTERS = ("created", "updated", "unchanged", "rejected", "warned")


def a_file(*rows: str, header: str = HEADER) -> BytesIO:
    return BytesIO((header + "".join(f"{row}\n" for row in rows)).encode())


def many(count: int, start: int = 0) -> list[str]:
    return [
        f"lead{number},Ana {number},CEO e fundadora,{number},100,3.8,false,,,"
        for number in range(start, start + count)
    ]


def start(tenant, stream, clock, **options) -> LeadImport:
    return actions.start_import(tenant, stream, "leads.csv", by=None, now=clock.now(), **options)


def lease(row, clock) -> str:
    token = new_token()
    row.refresh_from_db()
    assert intake.lease(row, token=token, now=clock.now())
    return token


def work(row, clock) -> LeadImport:
    token, ahead = lease(row, clock), intake.Ahead()
    while not intake.work_chunk(row, token=token, now=clock.now(), ahead=ahead):
        pass
    row.refresh_from_db()
    return row


def run(tenant, stream, clock, **options) -> LeadImport:
    return work(start(tenant, stream, clock, **options), clock)


def counts(row) -> dict[str, int]:
    return {name: getattr(row, name) for name in COUNTERS if getattr(row, name)}


def everything() -> dict[str, list]:
    """All that imports write, without ids and times."""
    lead = [
        item.attname
        for item in Lead._meta.concrete_fields
        if item.attname not in ("id", "created_at", "updated_at")
    ]
    score = ("lead__handle", "version__number", "total", "band", "eligible", "reason", "breakdown")
    return {
        "leads": list(Lead.objects.order_by("handle").values_list(*lead)),
        "scores": list(
            LeadScore.objects.order_by("lead__handle", "version__number").values_list(*score)
        ),
        "tags": list(LeadTag.objects.order_by("lead__handle").values_list("name", "lead__handle")),
        "problems": list(
            ImportProblem.objects.order_by("line", "code").values_list("line", "code", "params")
        ),
    }


@pytest.fixture(autouse=True)
def _in_acme(acme, in_tenant, rung):
    in_tenant(acme)


def test_a_file_becomes_scored_and_tagged_leads(acme, clock, rung):
    row = run(
        acme,
        a_file("@Ana.Silva,Ana,CEO,5.000,2500,3.81,não,a@b.co,11988887777,g1"),
        clock,
        list_name=" My  list ",
    )
    assert (row.state, counts(row), row.records) == ("done", {"created": 1}, 1)
    lead = Lead.objects.get()
    assert (lead.handle, lead.followers, lead.phone, lead.source, lead.is_private) == (
        "ana.silva", 5000, "+5511988887777", "import", False
    )  # fmt: skip
    expected = scorer_for(IcpConfig()).score(drafts.profile_of(lead))
    stored = LeadScore.objects.get()
    assert stored.version == Icp.objects.get().live
    assert (stored.total, stored.band) == (expected.total, expected.band.name)
    assert stored.breakdown == expected.breakdown
    assert LeadTag.objects.get().name == "My list"
    assert ("leads.tasks.import_slice", ()) in rung


def test_the_same_file_again_changes_nothing(acme, clock):
    rows = ["ana,Ana,,10,,,,,,", "bia,Bia,,20,,2.5,,,,", "ana,Ana Lima,,,,,,,,"]
    first = run(acme, a_file(*rows), clock)
    before = everything()
    again = run(acme, a_file(*rows), clock)
    assert counts(first) == {"created": 2, "updated": 1}
    assert counts(again) == {"unchanged": 3}
    assert everything() == before


def test_empty_cells_erase_nothing_and_later_rows_win(acme, clock):
    run(acme, a_file("ana,Ana,Bio,10,20,1.5,true,a@b.co,,g1"), clock)
    row = run(acme, a_file("ana,,,11,,,,,,", "ana,Ana Lima,,12,,,,,,", "ana,,,,,,,,,"), clock)
    assert counts(row) == {"updated": 2, "unchanged": 1}
    lead = Lead.objects.get()
    assert (lead.name, lead.bio, lead.followers, lead.following, lead.ghl_id) == (
        "Ana Lima", "Bio", 12, 20, "g1"
    )  # fmt: skip


def test_two_chunks_with_the_same_handle_make_one_lead(acme, clock, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 2)
    row = run(
        acme, a_file("ana,A,,,,,,,,", "bia,,,,,,,,,", "ANA,B,,,,,,,,", "@bia,,,,,,,,,"), clock
    )
    assert counts(row) == {"created": 2, "updated": 1, "unchanged": 1}
    assert Lead.objects.get(handle="ana").name == "B"


def test_each_chunk_is_read_once_while_the_one_before_it_is_written(acme, clock, monkeypatch):
    starts, read_on = [], intake._read_on

    def seen(row, place):
        starts.append((place.records, row.state))
        return read_on(row, place)

    monkeypatch.setattr(intake, "CHUNK", 2)
    monkeypatch.setattr(intake, "_read_on", seen)
    row = run(acme, a_file(*many(5)), clock)
    assert counts(row) == {"created": 5}
    assert starts == [(0, "running"), (2, "running"), (4, "running")]


def test_what_was_read_of_another_place_is_not_used(acme, clock, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 2)
    row, ahead = start(acme, a_file(*many(5)), clock), intake.Ahead()
    token = lease(row, clock)

    class Killed(BaseException):
        pass

    def bomb(*args, **kwargs):
        raise Killed

    # The first chunk is written and undone again, with the second one read meanwhile.
    with monkeypatch.context() as patched:
        patched.setattr(intake, "_advance", bomb)
        with pytest.raises(Killed):
            intake.work_chunk(row, token=token, now=clock.now(), ahead=ahead)
    while not intake.work_chunk(row, token=token, now=clock.now(), ahead=ahead):
        pass
    assert set(Lead.objects.values_list("handle", flat=True)) == {f"lead{at}" for at in range(5)}


def test_what_cannot_be_read_ahead_undoes_nothing(acme, clock, monkeypatch):
    read_on = intake._read_on

    def broken(row, place):
        if place.records:
            raise OSError("disk")
        return read_on(row, place)

    monkeypatch.setattr(intake, "CHUNK", 2)
    monkeypatch.setattr(intake, "_read_on", broken)
    row = start(acme, a_file(*many(5)), clock)
    with pytest.raises(OSError, match="disk"):
        work(row, clock)
    assert Lead.objects.count() == 2
    monkeypatch.setattr(intake, "_read_on", read_on)
    clock.move(61)
    assert counts(work(row, clock)) == {"created": 5}


def test_refused_rows_are_kept_with_line_and_reason_and_spoil_no_other(acme, clock):
    row = run(
        acme, a_file("ana,,,,,,,,,", "bad handle!,,,-5,,,,,,", "bia,,,,,,,no mail,no phone,"), clock
    )
    assert counts(row) == {"created": 2, "rejected": 1, "warned": 1}
    found = ImportProblem.objects.order_by("line", "code").values_list("line", "rejected", "code")
    assert list(found) == [
        (3, True, "bad_handle"),
        (4, False, "bad_email"),
        (4, False, "bad_phone"),
    ]
    assert ImportProblem.objects.get(line=3).raw[0] == "bad handle!"


def test_a_ghl_id_of_another_lead_is_left_out_with_a_warning(acme, clock):
    run(acme, a_file("ana,,,,,,,,,g1"), clock)
    row = run(acme, a_file("bia,,,,,,,,,g1", "carla,,,,,,,,,g2", "dora,,,,,,,,,g2"), clock)
    assert counts(row) == {"created": 3, "warned": 2}
    assert dict(Lead.objects.values_list("handle", "ghl_id")) == {
        "ana": "g1", "bia": "", "carla": "g2", "dora": ""
    }  # fmt: skip
    assert set(ImportProblem.objects.values_list("code", flat=True)) == {"ghl_id_taken"}


def test_leads_may_pass_ghl_ids_on_within_a_chunk(acme, clock):
    run(acme, a_file("ana,,,,,,,,,g1", "bia,,,,,,,,,g2"), clock)
    row = run(acme, a_file("ana,,,,,,,,,g3", "bia,,,,,,,,,g1", "ana,,,,,,,,,g2"), clock)
    assert counts(row) == {"updated": 3}
    assert dict(Lead.objects.values_list("handle", "ghl_id")) == {"ana": "g2", "bia": "g1"}


@pytest.mark.parametrize("again", [False, True], ids=["new", "changed"])
def test_the_number_of_statements_grows_by_two_for_each_part_of_the_leads(acme, clock, again):
    def statements(size: int, start_at: int) -> int:
        rows = [
            *many(size - 2, start_at),
            "bad handle!,,,,,,,,,",
            f"x{start_at},,,,,,,bad,,g{size}",
        ]
        if again:
            run(acme, a_file(*(row.replace("CEO", "Sócia") for row in rows)), clock)
        row = start(acme, a_file(*rows), clock, list_name="list")
        token = lease(row, clock)
        with CaptureQueriesContext(connection) as queries:
            assert intake.work_chunk(row, token=token, now=clock.now())
        return len(queries)

    for handle in ("x0", "x5000"):
        actions.suppress(acme, handle=handle, reason="asked", by=None, now=clock.now())
    few, parts = statements(10, 0), 999 // rescoring.PART + 1
    assert few <= 25
    assert statements(1_000, 5_000) == few + 2 * (parts - 1)


def test_an_import_killed_in_any_statement_goes_on_to_the_same_result(acme, clock, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 4)
    rows = [*many(9), "lead3,Later,,,,,,,,", "bad handle!,,,,,,,,,", "lead1,,,,,,,bad,,g1"]
    whole = run(acme, a_file(*rows), clock, list_name="list")
    expected, expected_counts = everything(), counts(whole)
    for table in (ImportProblem, LeadTag, LeadScore, Lead):
        table.objects.all().delete()

    class Killed(BaseException):
        pass

    row = start(acme, a_file(*rows), clock, list_name="list")
    for kill_at in range(1, 60):
        token, seen = lease(row, clock), 0

        def bomb(execute, sql, params, many, context, kill_at=kill_at):
            nonlocal seen
            seen += 1
            if seen == kill_at:
                raise Killed
            return execute(sql, params, many, context)

        ahead = intake.Ahead()
        try:
            with connection.execute_wrapper(bomb):
                while not intake.work_chunk(row, token=token, now=clock.now(), ahead=ahead):
                    pass
        except Killed:
            clock.move(61)  # until the dead worker's lease is over
        else:
            break
    row.refresh_from_db()
    assert row.state == "done"
    assert kill_at > 10
    assert counts(row) == expected_counts
    assert everything() == expected


def test_a_worker_whose_lease_was_taken_over_changes_nothing(acme, clock):
    row = start(acme, a_file(*many(3)), clock)
    old = lease(row, clock)
    clock.move(61)
    lease(row, clock)
    with pytest.raises(leasing.LeaseLost):
        intake.work_chunk(row, token=old, now=clock.now())
    assert not Lead.objects.exists()


def test_leases_have_one_holder(acme, clock):
    row = start(acme, a_file(*many(3)), clock)
    assert intake.lease(row, token="a", now=clock.now())
    assert not intake.lease(row, token="b", now=clock.now())


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"PK\x03\x04rest", "spreadsheet_or_zip"),
        (b"name,bio\nAna,CEO\n", "no_handle_column"),
        (b"ghl_id,name\nx,Ana\n", "no_handle_column"),
    ],
)
def test_what_is_no_list_of_leads_is_refused_with_a_sentence(acme, clock, content, code):
    with pytest.raises(Refused) as refused:
        start(acme, BytesIO(content), clock)
    assert refused.value.code == code
    assert str(refused.value).endswith(".")
    assert not LeadImport.objects.exists()


def test_a_file_that_is_gone_fails_the_import_with_a_sentence(acme, clock):
    row = start(acme, a_file(*many(3)), clock)
    row.file.storage.delete(row.file.name)
    LeadImport.objects.update(due_at=timezone.now())
    tasks.import_slice()
    row.refresh_from_db()
    assert row.state == "failed"
    assert (row.error_code, row.error) == (
        "file_gone",
        "The uploaded file is gone. Upload it again.",
    )


def test_an_unexpected_error_is_tried_again_later_and_in_the_end_given_up(acme, clock, monkeypatch):
    row = start(acme, a_file(*many(3)), clock)

    def broken(*args, **kwargs):
        raise RuntimeError("bug")

    monkeypatch.setattr(intake, "store_leads", broken)
    waits = []
    for _ in range(intake.MAX_ATTEMPTS):
        LeadImport.objects.update(due_at=timezone.now())
        tasks.import_slice()
        row.refresh_from_db()
        waits.append((row.due_at - timezone.now()).total_seconds())
    assert row.state == "failed"
    assert row.error
    assert waits[0] < waits[1] < waits[2] < waits[3]
    assert row.lease_until is None


def test_a_slice_imports_what_is_due_for_every_tenant(acme, rival, clock, rung):
    with scope.as_tenant(rival):
        theirs = actions.start_import(
            rival, a_file("eva,,,,,,,,,"), "x.csv", by=None, now=timezone.now()
        )
    ours = actions.start_import(acme, a_file(*many(3)), "x.csv", by=None, now=timezone.now())
    with scope.as_nobody():
        assert tasks.next_import_at() <= timezone.now()
        tasks.import_slice()
        assert tasks.next_import_at() is None
    ours.refresh_from_db()
    assert (ours.state, Lead.objects.count()) == ("done", 3)
    with scope.as_tenant(rival):
        theirs.refresh_from_db()
        assert (theirs.state, Lead.objects.get().handle) == ("done", "eva")
        assert LeadScore.objects.get().version.tenant == rival


def test_a_slice_whose_time_is_up_rings_for_the_next(acme, clock, rung, settings, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 2)
    row = actions.start_import(acme, a_file(*many(6)), "x.csv", by=None, now=timezone.now())
    rung.clear()
    answers = iter([False, True, True])
    monkeypatch.setattr(tasks, "_over", lambda clock: next(answers))
    with scope.as_nobody():
        tasks.import_slice()
    row.refresh_from_db()
    assert (row.state, row.records, row.lease_until) == ("running", 2, None)
    assert rung == [("leads.tasks.import_slice", ())]


def test_the_next_import_is_due_when_a_lease_ends(acme, clock):
    row = start(acme, a_file(*many(3)), clock)
    assert tasks.next_import_at() == row.due_at
    lease(row, clock)
    row.refresh_from_db()
    assert tasks.next_import_at() == row.lease_until


def test_ensure_leads_makes_who_is_missing_and_scores_them(acme, clock):
    run(acme, a_file("ana,Ana,,,,,,,,"), clock)
    found = actions.ensure_leads(acme, ["@Ana", "bia", "bia", "not a handle"], source="campaign")
    assert set(found) == {"ana", "bia"}
    assert dict(Lead.objects.values_list("handle", "id")) == found
    assert Lead.objects.get(handle="bia").source == "campaign"
    assert LeadScore.objects.count() == 2
    assert Lead.objects.get(handle="ana").name == "Ana"


def test_a_rival_with_the_same_leads_is_left_alone(acme, rival, clock):
    with scope.as_tenant(rival):
        run(rival, a_file("ana,Theirs,,1,,,,,,g1"), clock)
        before = everything()
    row = run(acme, a_file("ana,Ours,,2,,,,,,g1"), clock)
    assert counts(row) == {"created": 1}
    with scope.as_tenant(rival):
        assert everything() == before


def test_a_rehearsal_counts_the_same_and_changes_nothing(acme, clock, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 3)
    run(acme, a_file("ana,Ana,,1,,,,,,g1"), clock)
    before = everything()
    stream = a_file(
        "ana,,,2,,,,,,", *many(4), "ANA,,,1,,,,,,", "lead1,New,,,,,,,,g1", "bad h!,,,,,,,,,"
    )
    total = dict.fromkeys(COUNTERS, 0)
    for fates, _place in intake.rehearse(stream, intake.inspect(stream)):
        for name in COUNTERS:
            total[name] += getattr(fates, name)
    assert everything() == before
    stream.seek(0)
    assert {name: number for name, number in total.items() if number} == counts(
        run(acme, stream, clock)
    )
