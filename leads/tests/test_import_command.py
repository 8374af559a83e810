"""`manage.py import_leads`: counts, exit codes, refused rows, and a real SIGKILL."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from agenticos import leasing, scope
from agenticos.tests import environment
from leads import tasks
from leads.models import ImportProblem, Lead, LeadImport, LeadScore, LeadTag

GOOD = "handle,name,followers\nana,Ana,10\nbia,Bia,20\n"
MIXED = GOOD + 'bad handle!,"=1+1",30\ncarla,-x,40\ndora,+y,-5\nana,Ana Lima,\n'


class Done:
    """What a run of the command printed, and its exit code."""

    def __init__(self, *arguments: object) -> None:
        out, err = StringIO(), StringIO()
        self.code = 0
        try:
            call_command("import_leads", *map(str, arguments), stdout=out, stderr=err)
        except SystemExit as exit:
            self.code = int(exit.code or 0)
        except CommandError as error:
            self.code = error.returncode
            err.write(str(error))
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def counts(self) -> dict[str, int]:
        pairs = (line.split(": ") for line in self.out.splitlines() if ": " in line)
        return {name: int(number) for name, number in pairs}


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "leads.csv") -> Path:
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture(autouse=True)
def _acme(acme, in_tenant, request):
    in_tenant(acme)


def test_it_imports_prints_the_counts_and_succeeds(write):
    done = Done("acme", write(GOOD), "--list", "Spring")
    assert done.code == 0
    assert list(done.counts.items()) == [
        ("created", 2), ("updated", 0), ("unchanged", 0), ("rejected", 0), ("warnings", 0)
    ]  # fmt: skip
    assert Lead.objects.count() == LeadScore.objects.count() == 2
    assert set(LeadTag.objects.values_list("name", flat=True)) == {"Spring"}
    assert LeadImport.objects.get().state == "done"
    again = Done("acme", write(GOOD))
    assert (again.code, again.counts["unchanged"]) == (0, 2)


def test_refused_rows_are_told_and_make_the_exit_code_1(write):
    done = Done("acme", write(MIXED))
    assert done.code == 1
    assert done.counts == {"created": 3, "updated": 1, "unchanged": 0, "rejected": 2, "warnings": 0}
    assert "line 4: “bad handle!” is not an Instagram handle" in done.err
    assert "line 6: “-5” in followers is negative" in done.err


@pytest.mark.parametrize("option", ["--dry-run", "--list=x"])
def test_refused_rows_can_be_mended_and_imported_again(write, tmp_path, option):
    rejects = tmp_path / "rejects.csv"
    assert Done("acme", write(MIXED), option, "--rejects", rejects).code == 1
    with rejects.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["line"] for row in rows] == ["4", "6"]
    assert rows[0]["name"] == "'=1+1"  # a spreadsheet shows it and does not run it
    assert rows[1] == {
        "line": "6",
        "reason": "“-5” in followers is negative; counts start at 0.",
        "handle": "dora",
        "name": "'+y",
        "followers": "'-5",
    }
    rejects.write_text(
        rejects.read_text(encoding="utf-8-sig").replace("bad handle!", "eva").replace("'-5", "5")
    )
    assert Done("acme", rejects).code == 0
    assert Lead.objects.get(handle="eva").name == "=1+1"
    assert Lead.objects.get(handle="dora").followers == 5


def test_a_dry_run_counts_the_same_and_changes_nothing(write):
    Done("acme", write(GOOD))
    before = list(Lead.objects.order_by("pk").values())
    dry = Done("acme", write(MIXED), "--dry-run", "--list", "x")
    assert dry.code == 1
    assert list(Lead.objects.order_by("pk").values()) == before
    assert LeadImport.objects.count() == 1
    assert not ImportProblem.objects.exists()
    assert not LeadTag.objects.exists()
    assert Done("acme", write(MIXED)).counts == dry.counts


def test_a_mapping_names_columns_that_cannot_be_guessed(write):
    file = write("who,name,extra\nana,Ana,Dentista\n")
    assert Done("acme", file).code == 2
    mapping = write(json.dumps({"who": "handle", "extra": "bio", "name": None}), "m.json")
    assert Done("acme", file, "--mapping", mapping).code == 0
    lead = Lead.objects.get()
    assert (lead.handle, lead.name, lead.bio) == ("ana", "", "Dentista")


def test_a_mapping_says_what_happens_to_known_leads(write):
    Done("acme", write("handle,name,city,bio\nana,Old,,Old\n"))
    own = {"name": {"field": "name", "policy": "keep"}, "bio": {"field": "bio"}}
    mapping = write(json.dumps(own), "m.json")
    news = write("handle,name,city,bio\nana,New,Recife,New\n")
    dry = Done("acme", news, "--mapping", mapping, "--policy", "fill", "--dry-run")
    done = Done("acme", news, "--mapping", mapping, "--policy", "fill")
    assert done.counts == dry.counts
    lead = Lead.objects.get()
    assert (lead.name, lead.city, lead.bio) == ("Old", "Recife", "Old")
    assert LeadImport.objects.latest("pk").policies == {"name": "keep"}
    again = Done("acme", news, "--mapping", mapping)
    assert again.code == 0
    lead.refresh_from_db()
    assert (lead.name, lead.bio) == ("Old", "New")


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ('{"name": {"policy": "keep"}}', "takes"),
        ('{"name": {"field": "name", "policy": "replace"}}', "cannot be treated as"),
        ('{"name": {"field": "handle", "policy": "keep"}}', "cannot be treated as"),
        ('{"name": {"field": "nope"}}', "cannot be “nope”"),
        ('{"name": ["name"]}', "cannot be"),
        ("{", "is not JSON"),
        ("[]", "expected an object"),
        ('{"nope": "handle"}', "no column “nope”"),
        ('{"name": "nope"}', "cannot be “nope”"),
    ],
)
def test_a_wrong_mapping_is_a_usage_error(write, mapping, said):
    done = Done("acme", write(GOOD), "--mapping", write(mapping, "m.json"))
    assert done.code == 2
    assert said in done.err


def test_usage_errors_say_what_is_wrong(write, tmp_path):
    assert "no tenant “nobody”" in Done("nobody", write(GOOD)).err
    assert "No such file" in Done("acme", tmp_path / "none.csv").err
    assert "spreadsheet" in Done("acme", write(b"PK\x03\x04xxxx")).err
    assert "name" in Done("acme", write("name,bio\nAna,x\n")).err
    codes = {Done("nobody", write(GOOD)).code, Done("acme", tmp_path / "none.csv").code}
    assert codes | {Done("acme", write(b"PK\x03\x04xxxx")).code} == {2}
    unwritable = Done("acme", write(GOOD), "--rejects", tmp_path / "none" / "x.csv")
    assert unwritable.code == 2
    assert not LeadImport.objects.exists()


def test_a_file_in_windows_1252_is_read_and_that_is_said(write):
    done = Done("acme", write("usuário;nome\nana;João Conceição\n".encode("cp1252")))
    assert done.code == 0
    assert "Windows-1252" in done.err
    assert Lead.objects.get().name == "João Conceição"


def test_a_rival_is_left_alone(write, rival):
    Done("acme", write(GOOD))
    with scope.as_tenant(rival):
        assert not Lead.objects.exists()
        assert not LeadImport.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_killed_import_is_finished_by_the_worker_to_the_same_result(write, acme, settings):
    """A real SIGKILL, at a random moment, of a process that imports."""
    chance = random.Random()
    rows = 12_000
    file = write(
        "handle,name,bio,followers,phone\n"
        + "".join(
            f"lead{n % 11_000},Ana {n},CEO e fundadora,{n % 700},{'bad' if n % 97 == 0 else ''}\n"
            if n % 101
            else f"bad handle {n}!,,,,\n"
            for n in range(rows)
        )
    )
    # The other process keeps its files where the settings say, not in this test's folder.
    storages = {**settings.STORAGES}
    storages["default"] = {
        **storages["default"], "OPTIONS": {"location": settings.VAR_DIR / "files"}
    }  # fmt: skip
    settings.STORAGES = storages
    expected = Done("acme", file, "--dry-run").counts
    process = subprocess.Popen(
        [sys.executable, "manage.py", "import_leads", "acme", str(file)],
        cwd=environment.ROOT,
        env=environment.for_children(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        kill_after = chance.randrange(1, 8_000)
        deadline = time.monotonic() + 40
        while process.poll() is None and time.monotonic() < deadline:
            row = LeadImport.objects.first()
            if row is not None and row.records >= kill_after:
                break
            try:
                process.wait(chance.uniform(0.001, 0.05))
            except subprocess.TimeoutExpired:
                continue
        assert process.poll() is None, process.stderr.read().decode()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()

    row = LeadImport.objects.get()
    try:
        assert row.state == "running"
        assert row.created + row.updated + row.unchanged + row.rejected == row.records
        assert Lead.objects.count() == row.created
        # It holds its lease until its time is over, or until somebody sees that it is dead.
        assert tasks.next_import_at() == row.lease_until
        assert leasing.end_leases(row.lease_owner, timezone.now()) == 1
        while row.state == "running" and time.monotonic() < deadline + 40:
            tasks.import_slice()
            row.refresh_from_db()
        again = Done("acme", file)
    finally:
        for kept in LeadImport.objects.all():
            kept.file.delete(save=False)
    assert row.state == "done"
    assert {
        "created": row.created,
        "updated": row.updated,
        "unchanged": row.unchanged,
        "rejected": row.rejected,
        "warnings": row.warned,
    } == expected
    assert Lead.objects.count() == LeadScore.objects.count() == row.created
    assert ImportProblem.objects.filter(lead_import=row, rejected=True).count() == row.rejected
    assert (again.counts["created"], Lead.objects.count()) == (0, row.created)
