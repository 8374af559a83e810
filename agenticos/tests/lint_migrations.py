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
        # On SQLite it takes every table that is made anew for one: `unfillable` looks itself.
        exclude_migration_tests=["NOT_NULL"],
    )
    linter.lint_all_migrations()
    found = unfillable()
    for one in found:
        print(f"{one}: NOT NULL without db_default, so old code cannot write the row")
    return 1 if linter.has_errors or found else 0


def unfillable() -> list[str]:
    """Columns that migrations after the base make NOT NULL while old code knows no value."""
    from django.db.migrations import AddField, AlterField
    from django.db.migrations.loader import MigrationLoader
    from django.db.models import NOT_PROVIDED

    loader = MigrationLoader(None, ignore_no_migrations=True)
    base, found = set(names_of_the_base()), []
    for (app, name), migration in loader.disk_migrations.items():
        if app not in BASE or name in base:
            continue
        before = loader.project_state((app, name), at_end=False)
        for step in migration.operations:
            if isinstance(step, (AddField, AlterField)):
                field = step.field
                was_null = isinstance(step, AddField) or (
                    before.models[app, step.model_name_lower].fields[step.name].null
                )
                blank = field.many_to_many or field.null or field.db_default is not NOT_PROVIDED
                if was_null and not blank:
                    found.append(f"{app}.{name}: {step.model_name}.{step.name}")
            step.state_forwards(app, before)
    return found


def names_of_the_base() -> list[str]:
    """The migrations that are not looked at."""
    from django.db.migrations.loader import MigrationLoader

    found = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    return sorted(
        name for app, name in found if app in BASE and int(name.partition("_")[0]) <= BASE[app]
    )


if __name__ == "__main__":
    sys.exit(main())
