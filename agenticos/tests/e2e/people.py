"""A person at a browser: logs in, clicks, and hears every complaint of the browser and of axe."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

# No background networking: nothing but the pages is to be asked for.
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-pings",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PASSWORD = "agenticos-demo"
WAIT_S = 30
HEIGHT = 900
# A change of theme fades: a colour measured half-way is nobody's.
FADED = """new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
  .then(() => Promise.all(document.getAnimations().filter((each) => each instanceof CSSTransition)
  .map((each) => each.finished.catch(() => null)))).then(() => true)"""
LOOSE = ".htmx-request, .htmx-swapping, .htmx-settling"


def find_chromium() -> str:
    """The machine's Chromium, installed where apt may; SystemExit with a sentence without one."""
    if not _found() and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], check=False)
        subprocess.run(["apt-get", "-qq", "-y", "install", "chromium"], check=False)
    if path := _found():
        return path
    raise SystemExit(
        "make e2e needs Chromium: on Debian `apt-get install chromium`, elsewhere set CHROMIUM "
        "to the path of yours."
    )


def _found() -> str:
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        if name and (path := shutil.which(name)):
            return path
    return ""


def open_chromium(play: Playwright) -> Browser:
    expect.set_options(timeout=WAIT_S * 1000)
    return play.chromium.launch(executable_path=find_chromium(), args=FLAGS)


@dataclass(frozen=True, slots=True)
class Look:
    """How a person looks at the pages."""

    width: int = 1280
    theme: str = "light"
    language: str = "en"

    def __str__(self) -> str:
        return f"{self.width}-{self.theme}-{self.language}"


LOOKS = [
    Look(width, theme, language)
    for language in ("en", "pt-br")
    for width in (1280, 390)
    for theme in ("light", "dark")
]


@dataclass
class Person:
    """One member of the demo's tenant, with a browser of their own."""

    browser: Browser
    base: str
    role: str = "owner"
    look: Look = Look()
    tenant: str = "acme"
    complaints: list[str] = field(default_factory=list)
    expected: int = 0  # the refusal that is being asked for, such as 403; 0: none

    def __post_init__(self) -> None:
        context = self.browser.new_context(
            viewport={"width": self.look.width, "height": HEIGHT},
            locale="pt-BR" if self.look.language == "pt-br" else "en-GB",
            accept_downloads=True,
        )
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_S * 1000)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complain(f"script: {error}"))
        self.page.on("response", self._answered)
        self.log_in()

    def log_in(self) -> None:
        self.page.goto(f"{self.base}/accounts/login/")
        self.page.fill("input[name=login]", f"{self.role}@{self.tenant}.example")
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("main button[type=submit]")
        self.page.wait_for_url(f"{self.base}/t/{self.tenant}/**")
        self.choose("language", self.look.language)
        self.choose("theme", "")
        self.see_as(self.look)

    def choose(self, name: str, value: str) -> None:
        """Press the button of the person's menu that sets the theme or the language."""
        if self.page.locator("#menu-person[open]").count() == 0:
            self.page.click("#menu-person > summary")
        with self.page.expect_navigation():
            self.page.click(f"#menu-person button[name={name}][value='{value}']")

    def see_as(self, look: Look) -> None:
        """Change the width and the theme; the theme is the machine's, which the pages follow."""
        self.look = look
        self.page.set_viewport_size({"width": look.width, "height": HEIGHT})
        self.page.emulate_media(color_scheme="dark" if look.theme == "dark" else "light")

    # --- Moving about -------------------------------------------------------------------------

    def url(self, path: str = "") -> str:
        return f"{self.base}/t/{self.tenant}/{path}"

    def go(self, path: str, *, status: int = 200) -> Page:
        """Open a page of the tenant, such as "leads/"; complain when it answers otherwise."""
        with self.expecting(0 if status == 200 else status):
            answer = self.page.goto(self.url(path))
            if answer is None or answer.status != status:
                self.complain(f"answers {answer and answer.status}, expected {status}")
            self.settle()
        return self.page

    def visit(self, path: str) -> Page:
        """Open a page and look at it closely."""
        self.go(path)
        self.look_around()
        return self.page

    @contextmanager
    def expecting(self, status: int) -> Iterator[None]:
        """Within the block the server may refuse with this status, once or more."""
        self.expected = status
        try:
            yield
        finally:
            self.expected = 0

    def settle(self) -> None:
        """Until the page and what its parts asked for are there.

        Who is asked for the password, since the log-in is more than five minutes old, gives it and
        comes to the page they wanted.
        """
        self.page.wait_for_load_state("load")
        if "/accounts/reauthenticate/" in self.page.url:
            self.page.fill("input[name=password]", PASSWORD)
            with self.page.expect_navigation():
                self.page.click("main button[type=submit]")
            self.page.wait_for_load_state("load")
        expect(self.page.locator(LOOSE)).to_have_count(0)

    def follow(self, selector: str) -> None:
        """Click what leads to another page, and wait for that."""
        with self.page.expect_navigation():
            self.page.locator(selector).first.click()
        self.settle()

    def ask(self, selector: str) -> Locator:
        """Click what opens a dialog; return the dialog, looked at."""
        self.page.locator(selector).first.click()
        dialog = self.page.locator("#dialog[open]")
        password = self.page.locator("input[name=password]")
        expect(dialog.locator("#dialog-title").or_(password)).to_be_visible()
        if password.count():  # the log-in is old: the question is asked anew after the password
            self.settle()
            self.page.locator(selector).first.click()
        expect(dialog.locator("#dialog-title")).to_be_visible()
        self.settle()
        self.look_around()
        return dialog

    def answer(self, dialog: Locator) -> None:
        """Say yes in a dialog, and wait until it is gone."""
        dialog.locator(".ask-foot button[type=submit]").click()
        expect(dialog).to_have_count(0)
        self.settle()

    # --- Looking ------------------------------------------------------------------------------

    def look_around(self) -> None:
        """What is wrong with the page as it stands: sideways scrolling, and what axe finds."""
        self.page.evaluate(FADED)
        inside = self.page.evaluate("document.documentElement.scrollWidth")
        if inside > self.look.width:
            self.complain(f"{inside} px wide, it overflows")
        for finding in Axe().run(self.page).response["violations"]:
            nodes = "; ".join(node["html"][:160] for node in finding["nodes"][:3])
            self.complain(f"axe {finding['id']}: {finding['help']} | {nodes}")

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        self.page.screenshot(path=path, full_page=whole, animations="disabled")
        return path

    def close(self) -> None:
        self.page.context.close()

    def complain(self, text: str) -> None:
        self.complaints.append(f"[{self.role} {self.look}] {self.page.url}: {text}")

    def _hear(self, line: Any) -> None:
        if line.type not in ("error", "warning"):
            return
        if self.expected and f"status of {self.expected} " in line.text:
            return
        self.complain(f"console {line.type}: {line.text}")

    def _answered(self, response: Any) -> None:
        if response.status >= 500:
            self.complain(f"{response.status} from {response.url}")
