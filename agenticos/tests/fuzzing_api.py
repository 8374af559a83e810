"""The API against its own document: schemathesis makes what it allows, and what it forbids.

The suite asks a few examples of each operation (`test_schemathesis.py`). The long hunt, with as
many as one likes: `python -m agenticos.tests.fuzzing_api [examples] [pytest's arguments]`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

EXAMPLES = "FUZZ_EXAMPLES"
PER_OPERATION = 4  # of each mode, in the suite


def examples() -> int:
    """How many examples of each mode an operation gets."""
    return int(os.environ.get(EXAMPLES, PER_OPERATION))


def is_long() -> bool:
    """Whether this is the long hunt, which walks the edges of every value as well."""
    return EXAMPLES in os.environ


@cache
def document() -> Any:
    """The API's document as schemathesis reads it, bound to the site in this very process."""
    import schemathesis
    from django.core.wsgi import get_wsgi_application

    from agenticos.api import schema

    found = schemathesis.openapi.from_dict(schema.schema())
    found.app = get_wsgi_application()
    found.config.generation.with_security_parameters = False  # the doors have their own tests
    return found


@cache
def operations() -> dict[str, Any]:
    """Every operation of the document by its name, as `POST /api/v1/leads`."""
    found = [result.ok() for result in document().get_all_operations()]
    return {operation.label: operation for operation in found}


def takes_input(label: str) -> bool:
    """Whether anything in a request to this operation can be wrong."""
    operation = operations()[label]
    return any((operation.path_parameters, operation.query, operation.headers, operation.body))


def seed(tenant: Any) -> dict[str, list[int]]:
    """Rows to aim at: ids by the noun that stands before them in an address."""
    from agenticos import scope
    from agenticos.tests import factories

    lead = factories.make_lead(tenant, "ana", score=90, email="ana@example.com")
    other = factories.make_lead(tenant, "bia", score=55)
    draft = factories.make_campaign(tenant)
    running = factories.make_campaign(tenant, state="running")
    failed = factories.make_message(running, lead, state="failed", text="Oi!")
    unknown = factories.make_message(running, other, state="unknown")
    item = factories.make_sync_item(
        factories.make_connection(tenant, "ghl"), "lead:1", state="failed", reason="refused"
    )
    with scope.as_tenant(tenant):
        template = tenant.templates.create(tenant=tenant, name="First", body="Oi {first_name}!")
        begun = tenant.imports.create(tenant=tenant, file_name="leads.csv", size=10)
        begun.problems.create(tenant=tenant, line=2, rejected=True, code="no_handle")
        account = draft.accounts.get()
        view = tenant.saved_views.create(
            tenant=tenant, owner=tenant.memberships.get().user, name="Hot", query="band=HOT"
        )
    return {
        "leads": [lead.pk, other.pk],
        "campaign": [draft.pk, running.pk],
        "campaigns": [running.pk, draft.pk],
        "messages": [failed.pk, unknown.pk],
        "templates": [template.pk],
        "accounts": [account.pk],
        "imports": [begun.pk],
        "sync-items": [item.pk],
        "dead-letters": [item.pk],
        "segments": [view.pk],
        "versions": [1],
    }


def strategy(operation: Any, *, allowed: bool, ids: dict[str, list[int]]) -> Any:
    """Requests to one operation: all of them as the document allows, or none."""
    from schemathesis.generation import GenerationMode

    mode = GenerationMode.POSITIVE if allowed else GenerationMode.NEGATIVE
    made = operation.as_strategy(generation_mode=mode)
    if operation.body and not allowed:
        # Else a bad header is most of what is wrong, and the body is never looked at.
        made |= operation.as_strategy(generation_mode=mode, headers={"Idempotency-Key": "k"})
    return made.map(lambda case: aim(case, ids, allowed=allowed))


def aim(case: Any, ids: dict[str, list[int]], *, allowed: bool) -> Any:
    """Let most requests meet rows that are there: other ids than these would be nobody's."""
    parts = case.path.split("/")
    for place, part in enumerate(parts):
        name = part.strip("{}")
        number = (case.path_parameters or {}).get(name)
        if part.startswith("{") and type(number) is int and number % 8:
            rows = ids[parts[place - 1]]
            case.path_parameters[name] = rows[number % len(rows)]
    if not allowed:
        return case
    (case.query or {}).pop("cursor", None)  # no text is one by chance
    if isinstance(case.body, dict):
        complete(case.body, ids, start=case.path.endswith("/campaign/start"))
    return case


def complete(body: dict[str, Any], ids: dict[str, list[int]], *, start: bool) -> None:
    """Let a body name rows that are there, and what it must name besides."""
    if start and "campaign_id" not in body:
        body.setdefault("name", "Autumn")
        body.setdefault("template_id", 0)
        body.setdefault("target_type", "profiles" if "target_value" in body else "leads")
    if "audience" in body and "text" not in body:
        body.setdefault("template_id", 0)
    for name, kind in (("template_id", "templates"), ("campaign_id", "campaign")):
        if name in body:
            body[name] = ids[kind][0]
    if "account_ids" in body:
        body["account_ids"] = ids["accounts"]


@contextmanager
def one_connection() -> Iterator[None]:
    """Keep the site from closing the connection, which holds the test's transaction."""
    from django.core import signals
    from django.db import close_old_connections

    ends = (signals.request_started, signals.request_finished)
    for signal in ends:
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in ends:
            signal.connect(close_old_connections)


def ask(case: Any, key: str) -> None:
    """Send one request and undo it. Raises schemathesis' failures for a wrong answer."""
    import schemathesis
    from django.db import transaction

    known = schemathesis.checks
    checks = [
        known.not_a_server_error,
        known.status_code_conformance,
        known.content_type_conformance,
        known.response_headers_conformance,
        known.response_schema_conformance,
        known.negative_data_rejection,
    ]
    with transaction.atomic():
        answer = case.call(headers={"Authorization": f"Bearer {key}"})
        transaction.set_rollback(True)
    case.validate_response(answer, checks=checks)


def hunt(label: str, key: str, ids: dict[str, list[int]], *, allowed: bool, count: int) -> None:
    """Ask `count` examples of an operation, the same ones in every run.

    Raises what schemathesis found, in its smallest form.
    """
    from hypothesis import HealthCheck, Phase, given, settings

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy(operations()[label], allowed=allowed, ids=ids))
    def asked(case: Any) -> None:
        ask(case, key)

    with one_connection():
        asked()


def walk_edges(label: str, key: str, ids: dict[str, list[int]]) -> int:
    """Ask with the values at and beyond every limit that the document names; return how many.

    Raises what schemathesis found.
    """
    from schemathesis.generation import GenerationMode

    count = 0
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        cases = document().iter_coverage_cases(
            operations()[label],
            generation_modes=[mode],
            generation_config=document().config.generation,
        )
        with one_connection():
            for case in cases:
                ask(aim(case, ids, allowed=mode is GenerationMode.POSITIVE), key)
                count += 1
    return count


def main(arguments: list[str]) -> int:
    count, *rest = arguments or ["200"]
    os.environ[EXAMPLES] = count
    return int(pytest.main(["agenticos/tests/test_schemathesis.py", "-q", *rest]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
