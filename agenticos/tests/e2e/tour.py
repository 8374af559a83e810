"""Every page of the tenant, opened and looked at by axe in every look."""

from __future__ import annotations

from agenticos.tests.e2e.people import Look, Person

PAGES = [
    "",
    "today/",
    "search/?q=a",
    "campaigns/",
    "leads/",
    "leads/?q=nobody-is-called-so",
    "leads/?owner=none",
    "leads/jobs/",
    "icp/",
    "icp/versions/",
    "templates/",
    "accounts/",
    "notifications/",
    "team/",
    "settings/",
]
# What a viewer has no right to see answers 403, with a page that says so.
CLOSED = [
    "campaigns/new/",
    "leads/new/",
    "leads/imports/",
    "templates/new/",
    "accounts/new/",
    "accounts/test-message/",
    "integrations/",
    "integrations/outbox/",
    "integrations/dead-letters/",
    "ops/",
    "ops/?tab=claims",
    "ops/?tab=letters",
    "ops/?tab=invariants",
    "settings/keys/",
    "settings/keys/add/",
]
# Lists, and what follows the address of their first row: for everybody, and for the owner alone.
INSIDE = {
    "campaigns/?state=running,finished,cancelled": (
        ["", "audience/", "sequence/", "accounts/", "activity/", "gates/"],
        ["settings/"],
    ),
    "campaigns/?state=draft": (
        ["", "audience/", "activity/"],
        ["edit/", "message/", "start/", "start/people/", "settings/"],
    ),
    "leads/?band=HOT": ([""], ["edit/"]),
    "accounts/": ([""], ["edit/"]),
    "templates/": ([""], ["edit/"]),
    "leads/imports/": ([], ["", "leads/?show=created"]),
    "integrations/outbox/": ([], [""]),
}


def pages(person: Person) -> list[str]:
    """The addresses that this person is to see, below the tenant's own."""
    owns = person.role == "owner"
    found = [*PAGES, *(CLOSED if owns else [])]
    for listing, (everybodys, owners) in INSIDE.items():
        endings = [*everybodys, *owners] if owns else everybodys
        if endings and (address := _first(person, listing)):
            found += [address + ending for ending in endings]
    return found


def _first(person: Person, listing: str) -> str:
    """The address of the first row of a list; several states are tried in turn."""
    path, _, states = listing.partition("?state=")
    choices = [f"{path}?state={state}" for state in states.split(",")] if states else [listing]
    for choice in choices:
        row = person.go(choice).locator("main a.name").first
        if row.count():
            address = (row.get_attribute("href") or "").partition("?")[0]
            return address.removeprefix(f"/t/{person.tenant}/")
    person.complain(f"nothing to open in {listing}")
    return ""


def walk(person: Person, looks: list[Look]) -> None:
    """Open every page once and look at it in every look, all of the person's language."""
    for page in pages(person):
        person.go(page)
        for look in looks:
            person.see_as(look)
            person.look_around()
    if person.role == "owner":
        return
    for page in CLOSED:
        person.go(page, status=403)
        for look in looks:
            person.see_as(look)
            person.look_around()
