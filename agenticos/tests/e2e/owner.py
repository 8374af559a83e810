"""What the owner does: leads in, the profile, campaigns, the rest of the house."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from agenticos.tests.e2e import acts
from agenticos.tests.e2e.demo import Demo
from agenticos.tests.e2e.people import Person

REFUSED = {
    "error": {"message": "no", "type": "OAuthException", "code": 10, "error_subcode": 2534022}
}
SENDS = {"provider": "instagram", "account": acts.EXTERNAL_ID, "path": "/messages$"}
ROWS = 500


def import_and_undo(person: Person, demo: Demo, folder: Path) -> None:
    """Upload, columns, check, commit, report, undo: the numbers agree, and nothing is left."""
    name = f"export {person.look}"
    file = acts.leads_file(folder, name, rows=ROWS)
    acts.upload(person, file, list_name=name)
    person.look_around()
    new = person.page.locator("#progress a.tile[href*='show=created'] b")
    expect(new).to_have_text(str(ROWS))
    acts.commit(person)
    expect(new).to_have_text(str(ROWS))
    person.look_around()
    report = person.page.url
    person.go(f"leads/?tag={name}")
    expect(person.page.locator(".bands-total b")).to_have_text(str(ROWS))
    person.page.goto(report)
    person.answer(person.ask("a[href$='/undo/']"))
    expect(person.page.locator("#progress .chip-undone")).to_be_visible()
    person.look_around()
    person.go(f"leads/?tag={name}")
    expect(person.page.locator("input[name=lead]")).to_have_count(0)


def icp(person: Person, demo: Demo, folder: Path) -> None:
    """Change a threshold, see what it would do, publish it with a note, watch the scores switch."""
    page = person.visit("icp/")
    cold = page.locator("input[name=cold]")
    wanted = str(int(cold.input_value()) + 1)
    before = page.locator("#effect p strong").first.inner_text()
    page.locator("input[name=cold]").fill(wanted)
    expect(page.locator("#effect p strong").first).not_to_have_text(before)
    person.settle()
    person.look_around()
    page.fill("input[name=note]", f"e2e {person.look}")
    person.follow("button[formaction$='/icp/publish/']")
    person.go("icp/versions/")
    expect(page.locator("#versions tbody tr").first).to_contain_text(f"e2e {person.look}")
    expect(page.locator("section#progress.diagnosis")).to_have_count(0)
    person.look_around()
    person.go("icp/")
    expect(page.locator("input[name=cold]")).to_have_value(wanted)
    person.visit("icp/versions/")
    person.follow("a[href*='/versions/compare/']")
    person.look_around()


def campaign(person: Person, demo: Demo, folder: Path) -> None:
    """Draft, launch, watch, pause, resume, retry what failed, decide what is unknown."""
    name, size = f"Campaign {person.look}", 12
    acts.has_account(person)
    acts.bring_in(person, folder, f"people {person.look}", rows=60)
    where = acts.draft(person, name, list_name=f"people {person.look}", limit=size)
    demo.faults(
        {**SENDS, "next": 1, "status": 400, "body": REFUSED}, {**SENDS, "next": 1, "cut": "after"}
    )
    _launch(person, where)
    _wait_for(person, where, lambda: acts.tile(person, "sent") >= 1)
    person.answer(person.ask("main a[href$='/pause/']"))
    expect(person.page.locator("main a[href$='/resume/']").first).to_be_visible()
    person.look_around()
    person.answer(person.ask("main a[href$='/resume/']"))
    expect(person.page.locator("main a[href$='/pause/']").first).to_be_visible()
    _wait_for(
        person, where, lambda: [acts.tile(person, name) for name in ("unknown", "failed")] == [1, 1]
    )
    for ending in ("", "sequence/", "accounts/", "activity/"):
        person.visit(where + ending)
    _mend(person, where)
    _wait_for(person, where, lambda: acts.tile(person, "sent") == size)
    expect(person.page.locator("main .chip-finished").first).to_be_visible()


def _launch(person: Person, where: str) -> None:
    person.visit(where)
    dialog = person.ask("main a[href$='/start/']")
    expect(dialog.locator(".bubble").first).to_be_visible()
    person.answer(dialog)
    expect(person.page.locator("main a[href$='/pause/']").first).to_be_visible()


def _mend(person: Person, where: str) -> None:
    """Try the refused message again, and say that the unknown one did arrive."""
    page = person.visit(f"{where}audience/?state=failed")
    page.locator("form[action$='/retry/'] button").first.click()
    expect(page.locator("tr[id^=message-]")).to_have_count(0)
    person.visit(f"{where}audience/?state=unknown")
    dialog = person.ask("a[href$='/resolve/']")
    dialog.locator("input[name=outcome][value=sent]").check()
    person.answer(dialog)
    expect(page.locator("tr[id^=message-]")).to_have_count(0)


def _wait_for(person: Person, where: str, is_so: Callable[[], bool]) -> None:
    """Watch the control panel, which renews itself, until it says so."""
    person.go(where)
    for _ in range(120):
        if is_so():
            return
        person.page.wait_for_timeout(500)
    raise AssertionError(f"{where} did not get there: {person.page.locator('#tiles').inner_text()}")


def large_campaign(person: Person, demo: Demo, folder: Path) -> None:
    """More than 500 people: the number has to be typed. Then the campaign is stopped for good."""
    list_name = f"many {person.look}"
    acts.has_account(person)
    acts.bring_in(person, folder, list_name, rows=1500)
    where = acts.draft(person, f"Large {person.look}", list_name=list_name, limit=1200)
    person.visit(where)
    dialog = person.ask("main a[href$='/start/']")
    go = dialog.locator(".ask-foot button[type=submit]")
    expect(go).to_be_disabled()
    box = dialog.locator("input[name=confirm]")
    box.fill("7")
    expect(go).to_be_disabled()
    box.fill(box.get_attribute("data-confirm") or "")
    expect(go).to_be_enabled()
    person.answer(dialog)
    expect(person.page.locator("main a[href$='/pause/']").first).to_be_visible()
    person.page.click("main details[id^=menu-campaign] > summary")
    person.answer(person.ask("main a[href$='/stop/']"))
    expect(person.page.locator("main a[href$='/pause/']")).to_have_count(0)
    assert acts.tile(person, "cancelled") > ROWS, "nothing was cancelled"


def leads(person: Person, demo: Demo, folder: Path) -> None:
    """Filter, keep the filter as a view, tag everybody who matches, take it back, look aside."""
    tag = f"tag {person.look}"
    page = person.visit("leads/?band=WARM")
    matching = page.locator(".bands-total b").inner_text()
    dialog = person.ask("a[href*='/views/save/']")
    dialog.locator("input[name=name]").fill(f"Warm {person.look}")
    dialog.locator(".ask-foot button[type=submit]").click()
    tab = page.locator("#leads nav.tabs [aria-current=page]").first
    expect(tab).to_contain_text(f"Warm {person.look}")
    person.settle()
    page.locator("input[name=lead]").first.check()
    page.locator("#bulk input[name=all]").check()
    person.look_around()
    dialog = person.ask("#bulk button[formaction$='/bulk/tag/']")
    dialog.locator("input[name=tag]").fill(tag)
    with page.expect_navigation():
        dialog.locator(".ask-foot button[type=submit]").click()
    expect(page.locator("#job .chip-done")).to_be_visible()
    expect(page.locator("#job a.tile[href*='outcome=done'] b")).to_have_text(matching)
    person.look_around()
    person.visit("leads/jobs/")
    person.go(f"leads/?tag={tag}")
    expect(page.locator(".bands-total b")).to_have_text(matching)
    page.keyboard.press("j")
    page.keyboard.press("Space")
    expect(page.locator("#peek-body a").first).to_be_visible()
    person.settle()
    person.look_around()


def house(person: Person, demo: Demo, folder: Path) -> None:
    """Palette, keys, theme, notifications, team and settings."""
    page = person.visit("")
    page.keyboard.press("Control+k")
    expect(page.locator("#palette[open] [role=option]").first).to_be_visible()
    page.fill("#palette-input", "acme.e2e")
    person.settle()
    page.fill("#palette-input", "")
    person.settle()
    person.look_around()
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.locator("#keys[open]")).to_be_visible()
    person.look_around()
    page.keyboard.press("Escape")
    for theme in ("dark", "light", ""):
        person.choose("theme", theme)
        chosen = page.locator("html").get_attribute("data-theme-choice")
        assert chosen == (theme or "system"), chosen
    person.visit("notifications/")
    person.follow("form[action$='/notifications/read/'] button")
    person.visit("notifications/?unread")
    person.visit("team/")
    member = page.locator("tr", has_text="reviewer@acme.example").locator("form")
    member.locator("select[name=role]").select_option("reviewer")
    member.locator("button").click()
    person.settle()
    page = person.visit("settings/")
    gap = page.locator("input[name=contact_gap_days]")
    gap.fill(gap.input_value())
    person.follow("form[action$='/settings/edit/'] button[type=submit]")
    person.answer(person.ask("main a[href$='/stop/']"))
    expect(page.locator("main a[href$='/stop/lift/']")).to_be_visible()
    person.look_around()
    person.answer(person.ask("main a[href$='/stop/lift/']"))
    expect(page.locator("main a[href$='/stop/']")).to_be_visible()
    with person.expecting(404):
        answer = page.goto(f"{person.base}/t/globex/")
    assert answer is not None
    assert answer.status == 404, "the rival's address answers"
