"""`python -m agenticos.tests.mutations`: take each wall between tenants away in turn.

Each time the tests that stand for it must fail; exit 1 when one mutation survives. On SQLite,
where the managers and the conditions in our own SQL stand alone, those go; on PostgreSQL the
policies, their FORCE and the composite keys. The suite is loaded once per engine; each mutation
is made in a fork of it (or, in the database, is undone after it).
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import pytest

from agenticos.tests.environment import ROOT

TESTS = ["agenticos/tests/test_apart.py"]
DOORS = [
    "agenticos/tests/test_crawl.py::test_the_rival_finds_nothing_at_our_address",
    "agenticos/tests/test_crawl.py::test_who_is_no_member_finds_nothing",
]
CONDITION = re.compile(r"\b(?:\w\.)?tenant_id = %s")
# A second line by design, whose first one is another condition of the same statement.
SECOND = {
    "leads.whatif_sql.Words.join": "its rows are joined to scores of the tenant alone",
}
# What code that sees all tenants asks for by itself, as (module, text, text without it).
IN_SYSTEM = [
    ("tenants.middleware", ", tenant__slug=slug)", ")"),
    ("tenants.middleware", ".filter(user=request.user.pk, ", ".filter("),
    ("leads.rescoring", 'tenant_id=models.OuterRef("tenant_id"),', ""),
]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A wall that is taken away; `undo` where it outlives the process that does it."""

    name: str
    apply: Callable[[], None]
    undo: Callable[[], None] | None = None


# --- What is taken away -------------------------------------------------------------------------


def of_managers() -> Iterator[Mutation]:
    """Each manager of each model without its filter, and what writes without its check."""
    from agenticos.tests.everything import owned_models
    from tenants.owned import InScope, ScopedManager, TenantOwned, TenantQuerySet

    def everything(self: Any, *args: Any, **kwargs: Any) -> tuple[str, tuple[()]]:
        return "1 = 1", ()

    yield Mutation("InScope is always true", lambda: setattr(InScope, "as_sql", everything))
    yield Mutation("ScopedManager adds nothing", lambda: delattr(ScopedManager, "get_queryset"))
    yield Mutation("bulk_create checks nothing", lambda: delattr(TenantQuerySet, "bulk_create"))
    yield Mutation("save checks nothing", lambda: delattr(TenantOwned, "save"))
    for model in owned_models():
        label = model._meta.label
        for name in ("objects", "_base_manager"):
            manager = getattr(model, name)
            held = model._meta.base_manager if name == "_base_manager" else None
            held = held or model._meta.managers_map[manager.name]
            yield Mutation(f"{label}.{name} adds nothing", partial(_open, held))


def _open(manager: Any) -> None:
    """Let a manager, and those that relations make of its class, answer with every row."""
    from django.db.models import Manager

    plain = {"get_queryset": Manager.get_queryset}
    manager.__class__ = type("Open", (manager.__class__,), plain)


def of_statements() -> Iterator[Mutation]:
    """Each condition on the tenant in SQL of ours, and the look-ups of code that sees all."""
    for path in sorted(ROOT.glob("*/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if {"tests", "migrations", "bench", ".venv", "var"} & set(parts):
            continue
        text = path.read_text(encoding="utf-8")
        for found in CONDITION.finditer(text):
            changed = f"{text[: found.start()]}({found[0]} OR 1 = 1){text[found.end() :]}"
            yield from _in_source(".".join(parts), text, changed, found.start(), found[0])
    for module, old, new in IN_SYSTEM:
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        yield from _in_source(module, text, text.replace(old, new, 1), text.index(old), old)


def _in_source(module: str, text: str, changed: str, at: int, gone: str) -> Iterator[Mutation]:
    """The function at a place of a module's text, as it is in the changed text, without `gone`."""
    line = text.count("\n", 0, at) + 1
    function = _function_at(sys.modules[module], line)
    name = f"{module}.{function.__qualname__}"
    if name in SECOND:
        return
    new = _code_named(compile(changed, inspect.getfile(function), "exec"), function.__code__)
    yield Mutation(
        f"{name}, line {line}, without “{gone}”", lambda: setattr(function, "__code__", new)
    )


def _function_at(module: Any, line: int) -> FunctionType:
    """The innermost function or method of a module that a line belongs to."""
    found = []
    for value in vars(module).values():
        for inner in vars(value).values() if inspect.isclass(value) else [value]:
            inner = inspect.unwrap(inner) if callable(inner) else inner
            if isinstance(inner, FunctionType) and inner.__module__ == module.__name__:
                first = inner.__code__.co_firstlineno
                lines = [number for *_, number in inner.__code__.co_lines() if number]
                if first <= line <= max(lines):
                    found.append((first, inner))
    return max(found, key=lambda pair: pair[0])[1]


def _code_named(code: CodeType, like: CodeType) -> CodeType:
    waiting = [code]
    while waiting:
        for part in waiting.pop().co_consts:
            if isinstance(part, CodeType):
                if (part.co_qualname if hasattr(part, "co_qualname") else part.co_name) == (
                    like.co_qualname if hasattr(like, "co_qualname") else like.co_name
                ):
                    return part
                waiting.append(part)
    raise LookupError(like.co_name)


def of_the_database() -> Iterator[Mutation]:
    """Each policy, each FORCE, each composite key."""
    from agenticos.invariants import references_between_tenant_tables
    from agenticos.postgres.schema import POLICY
    from agenticos.tests.everything import owned_models

    def do(sql: str) -> Callable[[], None]:
        return lambda: _ddl(lambda editor: editor.execute(sql))

    def guard(table: str) -> Callable[[], None]:
        return lambda: _ddl(lambda editor: editor.guard(table))

    def tie(model: Any) -> Callable[[], None]:
        return lambda: _ddl(lambda editor: editor.tie(model))

    for model in owned_models():
        table = model._meta.db_table
        for change in (
            f"DROP POLICY {POLICY} ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        ):
            yield Mutation(change, do(change), guard(table))
    for model, name in references_between_tenant_tables():
        key: list[str] = []
        _ddl(lambda editor: key.append(editor.tie_name(model, model._meta.get_field(name))))  # noqa: B023  # called at once
        change = f'ALTER TABLE {model._meta.db_table} DROP CONSTRAINT "{key[0]}"'
        yield Mutation(change, do(change), tie(model))


def _ddl(work: Callable[[Any], None]) -> None:
    from django.db import connection

    with connection.schema_editor() as editor:
        work(editor)
    connection.close()


SETS: dict[str, list[Callable[[], Iterator[Mutation]]]] = {
    "code": [of_managers, of_statements],
    "database": [of_the_database],
}


# --- The loaded suite, as a plugin of pytest's ---------------------------------------------------


class Failed(Exception):
    """A test failed; what runs is over."""


class Mutating:
    """Runs the collected tests once whole, then once per mutation in a fork, up to a failure."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            raise Failed(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.unregister(name="terminalreporter")
        try:
            run(session.items)
        except Failed as error:
            raise pytest.UsageError(f"Fails with every wall in place: {error}") from None
        from pytest_django.plugin import blocking_manager_key

        with session.config.stash[blocking_manager_key].unblock():
            mutations = [mutation for make in SETS[self.kind] for mutation in make()]
            survivors = [one.name for one in mutations if not is_noticed(one, session.items)]
        say(f"{self.kind}: {len(mutations)} mutations, {len(survivors)} survive.")
        for name in survivors:
            say(f"SURVIVED: {name}")
        session.testsfailed = len(survivors)
        session._setupstate.teardown_exact(None)
        return True


def run(items: list[Any]) -> None:
    """Run the tests, keeping what the session has set up. Raises Failed."""
    for place, item in enumerate(items):
        item._initrequest()
        after = items[(place + 1) % len(items)]
        item.ihook.pytest_runtest_protocol(item=item, nextitem=after)


def is_noticed(mutation: Mutation, items: list[pytest.Item]) -> bool:
    """Whether a test fails without this wall."""
    from django.db import connections

    began = time.monotonic()
    if mutation.undo:
        mutation.apply()
    connections.close_all()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if not mutation.undo:
                mutation.apply()
            run(items)
        except BaseException as error:
            os.write(writing, f"{error}".encode()[:1000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        by = file.read()
    os.waitpid(child, 0)
    if mutation.undo:
        mutation.undo()
    test = by.rpartition("::")[2] or "NOT NOTICED"
    say(f"{mutation.name}: {test} ({time.monotonic() - began:.1f} s)")
    return bool(by)


def say(line: str) -> None:
    print(line, file=sys.__stderr__, flush=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Mutating(os.environ["MUTATE"]))


def main() -> int:
    """Run both sets; 1 when a mutation survives, 3 when PostgreSQL is not there."""
    from agenticos.tests import run_engines

    server = run_engines.postgresql()
    if not server.version:
        say(f"PostgreSQL does not answer: {server.why}. TEST_DATABASE_URL names one.")
        return 3
    for kind, tests, engine in (
        ("code", [*TESTS, *DOORS], {}),
        ("database", TESTS, {"TEST_DATABASE_URL": server.url}),
    ):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TEST_")}
        plugins = ["-p", "agenticos.tests.mutations", "-p", "no:xdist", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins, *tests],
            cwd=ROOT,
            env={**kept, **engine, "MUTATE": kind},
        )
        if done.returncode:
            return 1
    say("No mutation survives.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
