"""Every action that code writes to the audit trail is called something that people understand."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from django.contrib import admin

from agenticos.tests.test_house import sources
from campaigns.trail_words import WORDS

ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
# Where an action is put together out of the class's `audit_name` and a verb: `admin_actions`.
TOGETHER = "tenants/admin.py"


def texts(node: ast.AST | None) -> set[str]:
    """All text that stands somewhere in a piece of code."""
    found = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)] if node else []
    return {text for text in found if isinstance(text, str)}


def actions_in(node: ast.AST | None) -> set[str]:
    return set(filter(ACTION.fullmatch, texts(node)))


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """The calls of a function or method of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name in (
            getattr(node.func, "attr", ""),
            getattr(node.func, "id", ""),
        ):
            yield node


def standing_for(name: str, function: ast.FunctionDef, tree: ast.AST) -> set[str]:
    """What a name may hold: what is assigned to it, or handed over as this parameter."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if name in {getattr(target, "id", "") for target in targets}:
                found |= actions_in(node.value)
    if name in {one.arg for one in function.args.args}:
        for call in calls(tree, function.name):
            found |= set().union(*map(actions_in, call.args))
    return found


def recorded() -> set[str]:
    """Every action that `audit.record` is given anywhere; fails where none can be read."""
    found: set[str] = set()
    for path, text in sources():
        tree = ast.parse(text)
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in calls(function, "record"):
                if len(call.args) < 2:
                    continue
                actions = actions_in(call.args[1])
                if isinstance(call.args[1], ast.Name):
                    actions |= standing_for(call.args[1].id, function, tree)
                assert actions or path == TOGETHER, f"{path}:{call.lineno}"
                found |= actions
    return found


def admin_actions() -> set[str]:
    """What the admin records: a class's name, and a verb of its own or of its bases."""
    verbs: dict[str, set[str]] = {}
    found: set[str] = set()
    for path, text in sources():
        for owner in ast.walk(ast.parse(text)):
            if not isinstance(owner, ast.ClassDef) or "/admin" not in path:
                continue
            for call in (one for one in calls(owner, "note") if len(one.args) > 2):
                said = texts(call.args[2])
                names = [word.value for word in call.keywords if word.arg == "name"]
                found |= {f"{one}.{verb}" for name in names for one in texts(name) for verb in said}
                if not names:
                    verbs.setdefault(owner.name, set()).update(said)
    verbs["AuditedAdmin"] |= {"edited", "created"}  # told apart by a condition
    for one in admin.site._registry.values():
        if name := getattr(one, "audit_name", ""):
            bases = (verbs.get(base.__name__, set()) for base in type(one).mro())
            found |= {f"{name}.{verb}" for verb in set().union(*bases)}
    return found


def test_every_action_of_the_audit_trail_has_words():
    assert {"bulk.done", "export.done", "audit.pruned", "tenant.updated"} <= recorded()
    assert {"connection.secret_set", "tenant.edited", "membership.created"} <= admin_actions()
    assert (recorded() | admin_actions()) - set(WORDS) == set()


def test_no_words_are_for_an_action_that_nothing_takes():
    assert set(WORDS) - recorded() - admin_actions() == set()
