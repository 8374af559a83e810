"""Migrations that old code survives: django-migration-linter, over all that came after the base.

While a deploy runs, old processes work on the new schema. What stood before the rule is the base:
up to these numbers nothing is looked at.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

BASE = {"agenticos": 4, "tenants": 10, "integrations": 2, "leads": 6, "campaigns": 8}


def main() -> int:
    """Print what would break old code; return 1 if anything would."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticos.settings")
    import django

    django.setup()
    linter_of: Any = import_module("django_migration_linter").MigrationLinter
    linter = linter_of(
        no_cache=True,
        include_apps=list(BASE),
        ignore_name=list(names_of_the_base()),
        quiet=["ok", "ignore"],
    )
    linter.lint_all_migrations()
    return 1 if linter.has_errors else 0


def names_of_the_base() -> list[str]:
    """The migrations that are not looked at."""
    from django.db.migrations.loader import MigrationLoader

    found = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    return sorted(
        name for app, name in found if app in BASE and int(name.partition("_")[0]) <= BASE[app]
    )


if __name__ == "__main__":
    sys.exit(main())
