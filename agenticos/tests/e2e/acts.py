"""What several journeys do on the way: bring leads in, open a sending account, draft a campaign."""

from __future__ import annotations

import csv
import itertools
import re
from pathlib import Path

from playwright.sync_api import expect

from agenticos.tests.e2e.people import Person
from agenticos.tests.environment import ROOT

EXPORT = ROOT / "leads" / "demo" / "leads-500.csv"
IDENTIFYING = ("email", "phone", "website")
TEXT = "{{Oi|Olá}} {first_name|tudo bem}, vi seu perfil em {city?}. Posso te mandar uma ideia?"
HANDLE = "acme.e2e"
EXTERNAL_ID = "17841400000000099"
_numbers = itertools.count(1)


def leads_file(folder: Path, name: str, *, rows: int) -> Path:
    """A file of people whom nobody has met: the demo's rows under other handles."""
    with EXPORT.open(encoding="utf-8", newline="") as stream:
        known = list(csv.DictReader(stream))
    number = next(_numbers)
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(known[0]))
        writer.writeheader()
        for at, row in zip(range(rows), itertools.cycle(known), strict=False):
            own = {"handle": f"{row['handle'][:18]}.{number}_{at}"}
            writer.writerow({**row, **dict.fromkeys(IDENTIFYING, ""), **own})
    return path


def upload(person: Person, file: Path, *, list_name: str) -> None:
    """Through the wizard up to the check of the whole file, which is awaited."""
    person.visit("leads/imports/")
    person.page.set_input_files("input[name=file]", str(file))
    person.follow("main form[enctype] button[type=submit]")
    person.look_around()
    person.follow("a[href$='/columns/'].btn-primary")
    person.page.fill("input[name=list_name]", list_name)
    person.look_around()
    person.follow("main form button.btn-primary[type=submit]")
    expect(person.page.locator("form[action$='/commit/']")).to_be_visible()


def commit(person: Person) -> None:
    """Import what was checked, and wait for the report."""
    person.page.locator("form[action$='/commit/'] button").click()
    expect(person.page.locator("#progress .chip-done")).to_be_visible()
    person.settle()


def bring_in(person: Person, folder: Path, list_name: str, *, rows: int) -> None:
    upload(person, leads_file(folder, list_name, rows=rows), list_name=list_name)
    commit(person)


def has_account(person: Person) -> None:
    """A sending account of these journeys' own, so that faults meet nobody else's messages."""
    mine = person.go("accounts/").locator("main a.name", has_text=f"@{HANDLE}")
    if mine.count():
        return
    person.visit("accounts/new/")
    person.page.fill("input[name=handle]", HANDLE)
    person.page.fill("input[name=external_id]", EXTERNAL_ID)
    person.page.fill("input[name=token]", "e2e-token-000001")
    person.follow("main form button.btn-primary[type=submit]")
    person.look_around()
    person.go("accounts/")
    person.follow(f"main a.name:text-is('@{HANDLE}')")
    person.follow("a[href$='/edit/']")
    for name, value in {
        "day_cap": 5000, "hour_cap": 5000, "gap_min_s": 2, "gap_max_s": 2, "jitter_percent": 0,
    }.items():  # fmt: skip
        person.page.fill(f"input[name={name}]", str(value))
    person.follow("main form button.btn-primary[type=submit]")
    person.look_around()


def draft(person: Person, name: str, *, list_name: str, limit: int, handle: str = HANDLE) -> str:
    """Write a campaign in its two steps; return its address below the tenant's."""
    page = person.visit("campaigns/new/")
    page.fill("input[name=name]", name)
    for band in page.locator("input[name=bands]").all():
        band.check()
    page.select_option("select[name=tag]", list_name)
    page.fill("input[name=limit]", str(limit))
    person.settle()
    person.follow("main form button.btn-primary[type=submit]")
    page.fill("textarea[name=text]", TEXT)
    expect(page.locator("#preview .bubble").first).to_be_visible()
    for account in page.locator("input[name=accounts]").all():
        account.uncheck()
    page.get_by_label(re.compile(re.escape(handle))).check()
    page.check("input[name=always]")
    person.settle()
    person.look_around()
    person.follow("main form button.btn-primary[type=submit]:not([name])")
    return page.url.removeprefix(person.url()).partition("?")[0]


def tile(person: Person, bucket: str) -> int:
    """The number of a tile of the control panel."""
    text = person.page.locator(f"#tiles a[href$='state={bucket}'] b").inner_text()
    return int(re.sub(r"\D", "", text))
