#!/usr/bin/env python
"""Take pictures of the pages of a running server: each page, wide and narrow, light and dark.

    .venv/bin/python .ci/screenshots.py                       # the README's, into docs/screenshots
    .venv/bin/python .ci/screenshots.py http://localhost:8000 var/screenshots --all

Opens the first moving campaign and the best lead. Needs Chromium; `--pages`, `--widths`,
`--themes` and `--languages` narrow what is taken. It leaves the person's theme and language as it
last set them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

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
PAGES = {
    "campaigns": "campaigns/",
    "panel": "campaigns/?state=running",
    "draft": "campaigns/?state=draft",
    "new-campaign": "campaigns/new/",
    "leads": "leads/",
    "lead": "leads/?band=HOT",
    "imports": "leads/imports/",
}
# Lists whose first row is the page that is meant.
OPEN_FIRST = {"panel", "draft", "lead"}


def log_in(page: Page, base: str, email: str, password: str) -> None:
    page.goto(f"{base}/accounts/login/")
    page.fill("input[name=login]", email)
    page.fill("input[name=password]", password)
    page.click("main button[type=submit]")
    page.wait_for_load_state("networkidle")


def choose(page: Page, name: str, value: str) -> None:
    """Press the button of the person's menu that sets the theme or the language."""
    if page.locator("#menu-person[open]").count() == 0:
        page.click("#menu-person > summary")
    page.click(f"#menu-person button[name={name}][value='{value}']")
    page.wait_for_load_state("load")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("base", nargs="?", default="http://localhost:8000")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/screenshots"))
    parser.add_argument("--all", action="store_true", help="not just the two of the README")
    parser.add_argument("--email", default="owner@acme.example")
    parser.add_argument("--password", default="agenticos-demo")
    parser.add_argument("--tenant", default="acme")
    parser.add_argument("--pages", nargs="+", default=list(PAGES), choices=list(PAGES))
    parser.add_argument("--widths", nargs="+", type=int, default=[1280, 390])
    parser.add_argument("--themes", nargs="+", default=["light", "dark"])
    parser.add_argument("--languages", nargs="+", default=["en", "pt-br"])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    chosen = parser.parse_args()
    if not chosen.all:
        chosen.pages, chosen.widths = ["panel", "leads"], [1280]
        chosen.themes, chosen.languages = ["light"], ["en"]
    base = chosen.base.rstrip("/")
    chosen.folder.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=chosen.chromium, args=FLAGS)
        page = chromium.new_page()
        page.on(
            "console",
            lambda line: wrong.append(f"{page.url}: {line.text}") if line.type == "error" else None,
        )
        page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
        log_in(page, base, chosen.email, chosen.password)
        for language in chosen.languages:
            for theme in chosen.themes:
                page.set_viewport_size({"width": 1280, "height": 900})
                page.goto(f"{base}/t/{chosen.tenant}/campaigns/")
                choose(page, "language", language)
                choose(page, "theme", theme)
                for name in chosen.pages:
                    for width in chosen.widths:
                        page.set_viewport_size({"width": width, "height": 900})
                        page.goto(f"{base}/t/{chosen.tenant}/{PAGES[name]}")
                        if name in OPEN_FIRST:
                            page.click("td a.name >> nth=0")
                        page.wait_for_load_state("load")
                        page.wait_for_timeout(300)
                        inside = page.evaluate("document.documentElement.scrollWidth")
                        if inside > width:
                            wrong.append(f"{name} at {width}: {inside} px wide, it overflows")
                        file = f"{name}-{width}-{theme}-{language}" if chosen.all else name
                        path = chosen.folder / f"{file}.png"
                        page.screenshot(path=path, full_page=chosen.all)
                        sys.stdout.write(f"{path}\n")
        chromium.close()
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
