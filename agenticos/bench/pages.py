"""Milliseconds of server time for each page and live part of a large workspace, in process.

The value is the 95th percentile of several requests through all of Django, as the owner; the
log-in is outside. The last line has the slowest page. Which pages there are is read off the URL
table, so a new one is measured before anybody thinks of it; one whose id is not known here stops
the run. A what-if over all leads has the limit of its own that `preview` has.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agenticos.bench.stage import Stage

if TYPE_CHECKING:
    from django.test import Client
    from django.urls import URLPattern, URLResolver

    from agenticos.bench.workspace import Workspace

WARM_UP: Final = 2
TIMES: Final = 20
LIMIT_MS: Final = 150
FILE_STORAGE: Final = "django.core.files.storage.FileSystemStorage"
STATIC_STORAGE: Final = "django.contrib.staticfiles.storage.StaticFilesStorage"
WHAT_IF_MS: Final = 1_000
WHAT_IFS: Final = ("icp:effect", "icp:preview")

# Which row the id in an address is: by its route and name, else by its room and name.
MEANT: Final = {
    "campaigns:pk": "campaign", "campaigns:message": "failed", "leads:pk": "lead",
    "accounts:pk": "account", "accounts:connection": "connection", "templates:pk": "template",
    "integrations:pk": "connection", "team:pk": "member", "notifications:pk": "news",
    "campaigns:update pk": "large", "campaigns:content pk": "large", "campaigns:start pk": "large",
    "campaigns:preview pk": "large", "campaigns:launch-audience pk": "large",
    "campaigns:lead-next pk": "lead", "campaigns:message-resolve message": "unknown",
    "leads:view-save pk": "view", "leads:view-edit pk": "view", "leads:view-update pk": "view",
    "leads:view-delete pk": "view", "leads:job pk": "job", "leads:job-undo pk": "job",
    "leads:import pk": "import", "leads:import-leads pk": "import",
    "leads:import-undo pk": "import", "leads:import-file pk": "draft file",
    "leads:import-columns pk": "draft file", "leads:import-commit pk": "checked",
    "leads:import-discard pk": "checked", "integrations:item pk": "item",
    "integrations:replay pk": "item", "integrations:discard pk": "item",
    "integrations:credential pk": "crm", "integrations:off pk": "crm", "keys:pk": "key",
    "team:role-edit pk": "own role", "team:role-delete pk": "own role",
}  # fmt: skip
# Addresses that are files and no pages: as long as they are large.
FILES: Final = (
    "leads:export-file", "leads:import-rejects", "leads:subject-export", "campaigns:export",
)  # fmt: skip
# Pages that there are only with a query.
ASKED: Final = ("icp:compare",)
# The other faces of a page: queries, and rows in another state (by the id's meaning).
FACES: Final[dict[str, tuple[str, ...]]] = {
    "tenant-search": ("?q=lead00999", "?q=nobody-has-this-name"),
    "tenant-today": ("?account={account}",),
    "campaigns:detail": ("{draft}", "{large}", "{held}"),
    "campaigns:audience": (
        "?state=sent", "?state=queued", "?state=failed&reason=recipient_gone",
        "?state=sent&account={account}", "?q=lead00999", "{draft}", "{large}",
        "{large}?reason=below_min_score",
    ),
    "campaigns:activity": ("?kind=people", "?kind=messages"),
    "campaigns:list": ("?state=running",),
    "campaigns:start": ("{draft}",),
    "campaigns:launch-audience": ("{draft}", "?reason=over_limit", "?reason=in_another_campaign"),
    "campaigns:content": ("{draft}",),
    "ops:page": ("?tab=claims", "?tab=letters", "?tab=invariants"),
    "audit:list": ("?person=owner", "?action=campaign.paused", "?type=campaigns.message"),
    "leads:list": (
        "?band=HOT", "?view=fresh&band=HOT&messaged=no&suppressed=no", "?sort=newest",
        "?sort=followers", "?q=lead00999", "?q=nobody-has-this-name", "?tag=spring+list",
        "?source=manual", "?campaign={campaign}", "?f=bio&o=contains&v=clínica&u=",
        "?f=tag&o=is&v=tag+1&u=", "?suppressed=yes&sort=newest",
    ),
    "leads:bulk": ("?all=1", "?all=1&query=q%3Dlead00999"),
    "leads:export": ("?all=1",),
    "leads:job": ("?outcome=done",),
    "leads:import": ("{checked}", "{checked}?code=bad_handle"),
    "leads:import-leads": ("?show=updated", "{checked}"),
    "integrations:outbox": ("?state=failed",),
    "icp:effect": ("?old=WARM&new=HOT",),
    "icp:compare": ("?old=2&new=3",),
}  # fmt: skip
# The parts of pages that browsers ask for by themselves, or at each keystroke.
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "tenant-home": ("home",),
    "tenant-today": ("today",),
    "tenant-search": ("palette-results",),
    "campaigns:list": ("campaigns", "poll"),
    "campaigns:detail": ("panel",),
    "campaigns:audience": ("panel", "rows"),
    "campaigns:accounts": ("panel",),
    "campaigns:activity": ("events",),
    "campaigns:launch-audience": ("elsewhere",),
    "leads:list": ("leads",),
    "leads:detail": ("timeline",),
    "leads:job": ("job",),
    "leads:import": ("progress",),
    "accounts:list": ("accounts",),
    "accounts:detail": ("account",),
    "integrations:list": ("connections",),
    "integrations:outbox": ("outbox",),
    "integrations:item": ("item",),
    "audit:list": ("trail",),
    "ops:page": ("ops",),
}
# Live parts that a form asks for with what is typed in it; nothing is stored.
TYPED: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "campaigns:count": ("count", {"kind": "filter", "limit": "100000", "min_score": "0"}),
    "campaigns:preview": ("preview", {"text": "Oi {first_name}!"}),
    "templates:preview": ("preview", {"body": "Oi {first_name}!"}),
    "icp:preview": ("effect", {}),
}


class Page(NamedTuple):
    """One request to be measured. `part` is htmx's target; `data` makes it a POST."""

    route: str
    path: str
    part: str = ""
    data: dict[str, str] | None = None

    @property
    def name(self) -> str:
        shown = re.sub(r"^/t/[^/]+", "", self.path)
        return f"pages:{shown}{f'#{self.part}' if self.part else ''}"


def run(name: str, n: int, database_url: str) -> list[dict[str, Any]]:
    """Measure every page of a workspace of `n` leads; the last figure is the slowest page's."""
    n = n or 100_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            from django.conf import settings

            from agenticos.bench import workspace

            # Uploads go with the stage, and names of static files need no collecting before.
            settings.STORAGES = {
                "default": {"BACKEND": FILE_STORAGE, "OPTIONS": {"location": folder}},
                "staticfiles": {"BACKEND": STATIC_STORAGE},
            }

            return measure(workspace.build(stage, n), n, stage.engine)
        finally:
            stage.leave()


def measure(space: Workspace, n: int, engine: str) -> list[dict[str, Any]]:
    """Open every page of the workspace, again and again."""
    from django.conf import settings
    from django.test import Client

    from agenticos import garbage
    from agenticos.tests.factories import refresh

    import_module(settings.ROOT_URLCONF)
    garbage.tune(recycled=False)  # as the web process does
    client = Client(SERVER_NAME="localhost")
    client.force_login(space.owner)
    refresh(client, space.owner)  # some pages ask who did not give a password lately
    found = (_figure(client, page) for page in pages(space))
    figures = [figure | {"n": n, "engine": engine} for figure in found if figure]
    worst = max(figures, key=lambda figure: figure["ratio"])
    slow = sum(figure["ratio"] > 1 for figure in figures)
    summary = {**worst, "name": "pages", "page": worst["name"], "pages": len(figures), "slow": slow}
    return [*figures, summary]


def pages(space: Workspace) -> Iterator[Page]:
    """Every GET page of the tenant with its faces and parts, and the parts of its forms."""
    for route, pattern, prefix in _routes():
        if route in FILES:
            continue
        path = _path(route, prefix + str(pattern.pattern), space.ids)
        if route in TYPED:
            part, data = TYPED[route]
            yield Page(route, path, part, data)
            continue
        if route not in ASKED:
            yield Page(route, path)
        for part in PARTS.get(route, ()):
            yield Page(route, path, part)
        for face in FACES.get(route, ()):
            name, _, query = face.partition("?")
            ids = space.ids
            other = _path(route, prefix + str(pattern.pattern), ids, name.strip("{}"))
            yield Page(route, other + (f"?{query.format(**ids)}" if query else ""))


def _routes() -> Iterator[tuple[str, URLPattern, str]]:
    """The tenant's routes: full name, pattern, and what stands before it."""
    from django.urls import URLPattern, get_resolver

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern, str]]:
        for pattern in resolver.url_patterns:
            if isinstance(pattern, URLPattern):
                room = f"{resolver.app_name}:" if resolver.app_name else ""
                yield f"{room}{pattern.name}", pattern, prefix
            else:
                yield from walk(pattern, prefix + str(pattern.pattern))

    found = walk(get_resolver(), "")
    return (one for one in found if "<slug:tenant>" in one[2] + str(one[1].pattern))


def _path(route: str, pattern: str, ids: dict[str, int], meant: str = "") -> str:
    """The address of a route; `meant` is the row it is about, unless the usual one."""

    def value(match: re.Match[str]) -> str:
        name = match[1].rpartition(":")[2]
        if name in ("tenant", "kind", "number"):
            # Of the ICP's versions the second can be restored; a campaign has one step.
            number = "2" if route.startswith("icp:") else "1"
            return {"tenant": "acme", "kind": "tag", "number": number}[name]
        usual = MEANT.get(f"{route} {name}") or MEANT[f"{route.partition(':')[0]}:{name}"]
        return str(ids[meant if meant and name == "pk" else usual])

    return "/" + re.sub(r"<([^>]+)>", value, pattern)


def _figure(client: Client, page: Page) -> dict[str, Any] | None:
    """The 95th percentile of a page's time, and how many statements it takes.

    None for an address that only takes posts.
    """
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    headers = {"HX-Request": "true", "HX-Target": page.part} if page.part else {}

    def request() -> int:
        if page.data is None:
            answer = client.get(page.path, headers=headers)
        else:
            answer = client.post(page.path, page.data, headers=headers)
        if answer.headers.get("Location", "").startswith("/accounts/"):
            raise RuntimeError(f"{page.path} leads to the log-in")  # that would be measured
        return answer.status_code

    with CaptureQueriesContext(connection) as statements:
        status = request()
    queries = len(statements)
    if status == 405:  # an act, and no page
        return None
    if status not in (200, 302):
        raise RuntimeError(f"{page.path} answers {status}")
    for _ in range(WARM_UP):
        request()
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        request()
        taken.append(1_000 * (time.perf_counter() - began))
    taken.sort()
    value = taken[round(0.95 * TIMES) - 1]
    limit = WHAT_IF_MS if page.route in WHAT_IFS else LIMIT_MS
    return {
        "name": page.name,
        "value": round(value, 1),
        "unit": "ms",
        "limit": limit,
        "ratio": round(value / limit, 3),
        "median": round(taken[TIMES // 2], 1),
        "status": status,
        "queries": queries,
    }
