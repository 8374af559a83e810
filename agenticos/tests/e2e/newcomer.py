"""Somebody whose house is empty: from the first log-in to the first launched campaign.

They act from what the pages say: each step is opened from the list on the home page, by its name.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from playwright.sync_api import Locator, expect

from agenticos.tests.e2e import acts
from agenticos.tests.e2e.demo import Demo
from agenticos.tests.e2e.people import PASSWORD, Person
from agenticos.tests.environment import ROOT

MINUTES = 5
PICTURES = ROOT / "var" / "e2e" / "newcomer"
LIST = "first list"
HANDLE = "newcomer.shop"


class Clicks:
    """A newcomer's hand: what it clicks and fills is counted."""

    def __init__(self, person: Person) -> None:
        self.person, self.count, self.begun = person, 0, time.monotonic()

    def on(self, place: str | Locator) -> None:
        """Click, and wait until what it leads to is there."""
        self.count += 1
        page = self.person.page
        target = page.locator(place).first if isinstance(place, str) else place
        target.click()
        self.person.settle()

    def look(self, folder: Path, name: str) -> None:
        """What a person would see now, kept to be looked at, and told to axe."""
        self.person.look_around()
        self.person.picture(folder / f"new-{self.person.look}-{name}.png", whole=True)

    def step(self, words: str) -> None:
        """Back home, and on to the first step whose name has these words."""
        self.on(f"nav a[href='/t/{self.person.tenant}/']")
        link = self.person.page.locator(".setup a.name", has_text=words)
        expect(link).to_be_visible()
        self.on(link)


def new_tenant(person: Person, demo: Demo, folder: Path) -> None:
    """An empty house: profile, leads, account, template, campaign; each found from home."""
    slug = f"new-{person.look.width}"
    _make(demo, slug, folder)
    newcomer = Person(person.browser, person.base, "owner", person.look, tenant=slug)
    newcomer.complaints = person.complaints
    try:
        PICTURES.mkdir(parents=True, exist_ok=True)
        _walk(newcomer, folder, PICTURES)
    finally:
        newcomer.close()


def _make(demo: Demo, slug: str, folder: Path) -> None:
    owner = {
        "email": f"owner@{slug}.example", "name": "Nara", "role": "owner", "password": PASSWORD,
    }  # fmt: skip
    file = folder / f"{slug}.json"
    tenant = {"slug": slug, "name": f"New {slug}", "members": [owner]}
    file.write_text(json.dumps({"tenants": [tenant]}), encoding="utf-8")
    demo.run("manage.py", "provision", str(file))


def _walk(person: Person, folder: Path, pictures: Path) -> None:
    page, hand = person.page, Clicks(person)
    hand.look(pictures, "01-home")
    steps = page.locator(".setup a.name")
    assert steps.count() >= 6, steps.all_inner_texts()
    names = steps.all_inner_texts()
    leads, account, template, campaign = names[1], names[2], names[5], names[-1]

    hand.on(steps.first)
    hand.look(pictures, "02-icp")
    hand.on("button[formaction$='/icp/publish/']")
    hand.look(pictures, "03-icp-published")

    hand.step(leads)
    hand.look(pictures, "04-imports")
    page.set_input_files("input[name=file]", str(acts.leads_file(folder, LIST, rows=60)))
    hand.on("main form[enctype] button[type=submit]")
    hand.look(pictures, "05-uploaded")
    hand.on("a[href$='/columns/'].btn-primary")
    page.fill("input[name=list_name]", LIST)
    hand.look(pictures, "06-columns")
    hand.on("main form button.btn-primary[type=submit]")
    expect(page.locator("form[action$='/commit/']")).to_be_visible()
    hand.on("form[action$='/commit/'] button")
    expect(page.locator("#progress .chip-done")).to_be_visible()
    person.settle()
    hand.look(pictures, "07-imported")

    hand.step(account)
    hand.look(pictures, "08-accounts")
    hand.on("main a[href$='/accounts/new/']")
    page.fill("input[name=handle]", HANDLE)
    page.fill("input[name=external_id]", f"1784140000000{person.look.width:04}")
    page.fill("input[name=token]", f"e2e-token-{person.look.width:06}")
    hand.look(pictures, "09-account-new")
    hand.on("main form button.btn-primary[type=submit]")
    hand.look(pictures, "10-account")

    hand.step(template)
    hand.look(pictures, "11-templates")
    hand.on("main a[href$='/templates/new/']")
    page.fill("input[name=name]", "First words")
    page.fill("textarea[name=body]", acts.TEXT)
    person.settle()
    hand.look(pictures, "12-template-new")
    hand.on("main form button.btn-primary[type=submit]")
    hand.look(pictures, "13-template")

    hand.step(campaign)
    page.fill("input[name=name]", "First campaign")
    person.settle()
    hand.look(pictures, "14-audience")
    hand.on("main form button.btn-primary[type=submit]")
    hand.look(pictures, "15-content")
    hand.on(page.get_by_role("button", name="First words"))
    expect(page.locator("textarea[name=text]")).to_have_value(acts.TEXT)
    page.check("input[name=always]")
    person.settle()
    hand.look(pictures, "16-content-chosen")
    hand.on("main form button.btn-primary[type=submit]:not([name])")
    hand.look(pictures, "17-draft")
    hand.count += 1
    dialog = person.ask("main a[href$='/start/']")
    hand.look(pictures, "18-launch")
    hand.count += 1
    person.answer(dialog)
    expect(page.locator("main a[href$='/pause/']").first).to_be_visible()
    took = time.monotonic() - hand.begun
    assert took < 60 * MINUTES, f"{took:.0f} s to the first campaign"
    # What the forecast says belongs to a campaign that runs, without a reload.
    words = re.compile("if it starts now|se começar agora", re.IGNORECASE)
    expect(page.locator("#forecast-result")).not_to_contain_text(words)
    for _ in range(120):
        if acts.tile(person, "sent"):
            break
        page.wait_for_timeout(500)
    assert acts.tile(person, "sent"), "nothing left"
    hand.look(pictures, "19-running")
    sys.stdout.write(
        f"owner   {person.look!s:<18} an empty house to a launched campaign: {took:.0f} s, "
        f"{hand.count} clicks\n"
    )
