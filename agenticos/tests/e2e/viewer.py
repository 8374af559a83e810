"""What a viewer meets: everything to read, nothing to change, no text of a message."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from agenticos.tests.e2e import tour
from agenticos.tests.e2e.demo import Demo
from agenticos.tests.e2e.people import Person

# Pages, and the controls on them that a viewer sees disabled.
CONTROLS = {"": 2, "campaigns/": 1, "leads/": 2, "icp/": 2, "accounts/": 1, "templates/": 1}


def looks_only(person: Person, demo: Demo, folder: Path) -> None:
    """Controls are disabled and say whom they take; no form of the page could change anything."""
    for path, least in CONTROLS.items():
        page = person.visit(path)
        shut = page.locator("main .reason[data-reason]:has(button:disabled)")
        assert shut.count() >= least, f"{path}: {shut.count()} disabled controls"
        for control in shut.all():
            assert control.get_attribute("data-reason"), path
        posts = page.locator("main form[method=post]:not(:has(fieldset:disabled))")
        expect(posts).to_have_count(0)


def no_texts(person: Person, demo: Demo, folder: Path) -> None:
    """The campaign and its ledger without a word of what was written."""
    page = person.go("campaigns/")
    names = page.locator("main a.name")
    addresses = [link.get_attribute("href") or "" for link in names.all()]
    assert addresses, "no campaign"
    for address in addresses:
        inside = address.removeprefix(f"/t/{person.tenant}/")
        for ending in ("", "audience/", "sequence/"):
            page = person.go(inside + ending)
            expect(page.locator(".bubble, .text-cell")).to_have_count(0)
            assert "vi seu perfil" not in page.content(), f"a text on {inside}{ending}"
        person.go(f"{inside}start/", status=403)
        person.go(f"{inside}samples/", status=403)


def closed_doors(person: Person, demo: Demo, folder: Path) -> None:
    """What takes another role answers 403 with a page that says so."""
    for path in tour.CLOSED:
        page = person.go(path, status=403)
        expect(page.locator("h1")).to_be_visible()
    with person.expecting(404):
        page.goto(f"{person.base}/t/globex/")
    expect(page.locator("h1")).to_be_visible()


def palette(person: Person, demo: Demo, folder: Path) -> None:
    """Ctrl K finds what may be read, and the sheet of keys opens."""
    page = person.visit("")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette[open] [role=option]").first).to_be_visible()
    person.settle()
    person.look_around()
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.locator("#keys[open]")).to_be_visible()
    person.look_around()
