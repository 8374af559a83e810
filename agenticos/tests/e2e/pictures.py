"""`make screenshots`: the README's six pictures, of a demo of their own."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from agenticos.tests.e2e import acts
from agenticos.tests.e2e.demo import Demo
from agenticos.tests.e2e.people import Person, open_chromium
from agenticos.tests.environment import ROOT

FOLDER = ROOT / "docs" / "screenshots"
MAX_BYTES = 200_000


def take(person: Person, files: Path) -> list[Path]:
    """Control panel, lead list, what-if, check of an import, launch, home; return their files."""
    page, taken = person.page, []

    def keep(name: str) -> None:
        person.settle()
        taken.append(person.picture(FOLDER / f"{name}.png"))

    person.go("campaigns/?state=running")
    person.follow("main a.name")
    expect(page.locator("#forecast-place svg").first).to_be_visible()
    for _ in range(60):
        if acts.tile(person, "sent") > 60:
            break
        page.wait_for_timeout(1000)
    keep("panel")
    person.go("leads/")
    keep("leads")
    person.go("icp/")
    before = page.locator("#effect p strong").first.inner_text()
    page.locator("input[name=warm]").fill("60")
    expect(page.locator("#effect p strong").first).not_to_have_text(before)
    page.evaluate("window.scrollTo(0, 0)")
    keep("icp")
    acts.upload(person, acts.leads_file(files, "leads-export-500", rows=500), list_name="Outubro")
    keep("import")
    acts.commit(person)
    where = acts.draft(
        person, "Agenda de outubro", list_name="Outubro", limit=200, handle="acme.clinica"
    )
    person.go(where)
    expect(page.locator("#forecast-place svg").first).to_be_visible()
    person.ask("main a[href$='/start/']")
    keep("launch")
    person.go("")
    keep("home")
    return taken


def main() -> int:
    with (
        Demo() as demo,
        tempfile.TemporaryDirectory(prefix="agenticos files ") as files,
        sync_playwright() as play,
    ):
        browser = open_chromium(play)
        person = Person(browser, demo.base)
        taken = take(person, Path(files))
        wrong = [
            *person.complaints,
            *(f"{path} is above {MAX_BYTES:,} bytes" for path in taken if _size(path) > MAX_BYTES),
        ]
        browser.close()
    for path in taken:
        sys.stdout.write(f"{path.relative_to(ROOT)} {_size(path):,} bytes\n")
    for text in wrong:
        sys.stdout.write(f"- {text}\n")
    return 1 if wrong else 0


def _size(path: Path) -> int:
    return path.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
