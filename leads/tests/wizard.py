"""What tests of the import wizard do over and over."""

from __future__ import annotations

from pathlib import Path

from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from agenticos.leasing import new_token
from agenticos.tests.factories import make_lead
from leads import intake, staging
from leads.models import LeadImport

COUNTERS = (*intake.COUNTERS, "records")
DATA = Path(__file__).parent / "data"
DEMO = Path(__file__).parents[1] / "demo" / "leads-500.csv"
HEADER = "handle,name,bio,followers,email,phone,ghl_id"
OWN_RULES = {"name": "keep", "city": "fill"}


def csv_of(*rows: str, header: str = HEADER) -> bytes:
    return "".join(f"{row}\n" for row in (header, *rows)).encode()


def upload(content: bytes, name: str = "leads.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, content_type="text/csv")


def stage(tenant, content: bytes, clock) -> LeadImport:
    return staging.stage_import(tenant, upload(content), "leads.csv", by=None, now=clock.now())


def work(row, clock) -> LeadImport:
    row.refresh_from_db()
    token, ahead = new_token(), intake.Ahead()
    assert intake.lease(row, token=token, now=clock.now())
    while not intake.work_chunk(row, token=token, now=clock.now(), ahead=ahead):
        pass
    row.refresh_from_db()
    return row


def rehearse(tenant, content: bytes, clock, **options) -> LeadImport:
    row = stage(tenant, content, clock)
    mapping = staging.offer(row.headers, guess=True).mapping
    staging.start_rehearsal(row, **{"mapping": mapping, "by": None, "now": clock.now(), **options})
    return work(row, clock)


def commit(row, clock) -> LeadImport:
    staging.commit_import(row, by=None, now=clock.now())
    return work(row, clock)


def counts(row) -> dict[str, int]:
    return {name: getattr(row, name) for name in COUNTERS}


def some(row) -> dict[str, int]:
    return {name: number for name, number in counts(row).items() if number}


def url(name, tenant, *args):
    return reverse(f"leads:{name}", args=[tenant.slug, *args])


def text(response) -> str:
    return response.content.decode()


def a_hard_file() -> bytes:
    """Repeats, GHL ids that wander, values that come and go, over several chunks."""
    rows = [f"lead{n},Ana {n},CEO,{n},a{n}@example.com,,g{n}" for n in range(8)]
    rows += [f"LEAD{n},,,{n + 1},,," for n in range(0, 8, 2)]
    rows += ["lead0,,,,,,h0", "new1,,,,,,g0", "lead1,Bia,,,,,", "lead1,Ana 1,,,,,", "new2,,,,,,g1"]
    rows += [
        "bad handle!,,,,,,",
        "new3,,,-5,,,",
        "new4,,,,no mail,12,",
        "lead3,,,,,,g2",
        "new1,,,,,,",
    ]
    return csv_of(*rows)


def known_lead(tenant, **fields):
    return make_lead(tenant, "ana", name="Old", city="", category="Old", score=None, **fields)
