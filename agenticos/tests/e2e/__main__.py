"""`make e2e`: people at browsers over a demo of their own. Exit status 1 if anything is wrong.

    .venv/bin/python -m agenticos.tests.e2e --looks quick --only campaign tour

While one of the two members acts, the other walks through every page; then they change places.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from agenticos.tests.e2e import acts, newcomer, owner, tour, viewer
from agenticos.tests.e2e.demo import Demo
from agenticos.tests.e2e.people import LOOKS, Look, Person, find_chromium, open_chromium
from agenticos.tests.environment import ROOT

Journey = Callable[[Person, Demo, Path], None]
JOURNEYS: dict[str, tuple[Journey, ...]] = {
    "owner": (
        owner.import_and_undo,
        owner.icp,
        owner.leads,
        owner.campaign,
        owner.large_campaign,
        owner.house,
        newcomer.new_tenant,
    ),
    "viewer": (viewer.looks_only, viewer.no_texts, viewer.closed_doors, viewer.palette),
}
# Opposite in width, theme and language.
ENDS = [Look(1280, "light", "en"), Look(390, "dark", "pt-br")]
PICTURES = ROOT / "var" / "e2e"


@dataclass
class Run:
    """One run: what is chosen, and what was complained of."""

    demo: Demo
    folder: Path
    only: list[str]
    looks: list[Look]
    complaints: list[str] = field(default_factory=list)

    def act(self, role: str) -> None:
        """Every journey of the role, in looks that are opposites."""
        journeys = [each for each in JOURNEYS[role] if self._is_chosen(each.__name__)]
        for look in ENDS if journeys else []:
            for journey in journeys:
                self._go(role, look, journey.__name__, partial(self._do, journey))

    def tour(self, role: str) -> None:
        """Every page, once in each language and from there in every width and theme."""
        for language in ("en", "pt-br") if self._is_chosen("tour") else ():
            looks = [look for look in self.looks if look.language == language]
            if looks:
                self._go(role, looks[0], "tour", partial(tour.walk, looks=looks))

    def _do(self, journey: Journey, person: Person) -> None:
        journey(person, self.demo, self.folder)

    def _is_chosen(self, name: str) -> bool:
        return not self.only or name in self.only

    def _go(self, role: str, look: Look, name: str, do: Callable[[Person], None]) -> None:
        """One journey in a browser of its own; an error ends it and becomes a complaint."""
        begun = time.monotonic()
        with sync_playwright() as play:
            browser = open_chromium(play)
            found = self._with(browser, role, look, name, do)
            browser.close()
        took = time.monotonic() - begun
        verdict = f"{len(found)} complaints" if found else "ok"
        sys.stdout.write(f"{role:<7} {look!s:<18} {name:<16} {took:6.1f} s  {verdict}\n")
        sys.stdout.flush()
        self.complaints += [f"{name}: {text}" for text in found]
        # To be read while the rest still runs.
        (PICTURES / "complaints.txt").write_text("\n".join(self.complaints), encoding="utf-8")

    def _with(
        self, browser: Browser, role: str, look: Look, name: str, do: Callable[[Person], None]
    ) -> list[str]:
        person = None
        try:
            person = Person(browser, self.demo.base, role, look)
            do(person)
        except Exception as error:
            if person is None:
                return [f"[{role} {look}] {error}"]
            picture = person.picture(PICTURES / f"{role}-{name}-{look}.png", whole=True)
            said = str(error).partition("Aria snapshot")[0].strip()
            person.complain(f"{type(error).__name__}: {said} | see {picture}")
        return person.complaints


def main() -> int:
    names = sorted({each.__name__ for some in JOURNEYS.values() for each in some} | {"tour"})
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--looks", choices=["all", "quick"], default="all", help="of the tour")
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME")
    chosen = parser.parse_args()
    find_chromium()
    PICTURES.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with Demo() as demo, tempfile.TemporaryDirectory(prefix="agenticos files ") as folder:
        looks = LOOKS if chosen.looks == "all" else ENDS
        run = Run(demo, Path(folder), chosen.only, looks)
        if run._is_chosen("tour"):
            run._go("owner", ENDS[0], "a draft", partial(_leave_a_draft, folder=Path(folder)))
        with ThreadPoolExecutor(2) as threads:
            for acting, touring in (("owner", "viewer"), ("viewer", "owner")):
                both = [threads.submit(run.act, acting), threads.submit(run.tour, touring)]
                for each in both:
                    each.result()
    sys.stdout.write(f"{time.monotonic() - begun:.0f} s, {len(run.complaints)} complaints\n")
    for text in dict.fromkeys(run.complaints):
        sys.stdout.write(f"- {text}\n")
    return 1 if run.complaints else 0


def _leave_a_draft(person: Person, folder: Path) -> None:
    """A draft and a list for the tours to look at."""
    acts.has_account(person)
    acts.bring_in(person, folder, "tour", rows=40)
    acts.draft(person, "Draft of the tour", list_name="tour", limit=20)


if __name__ == "__main__":
    sys.exit(main())
