"""The tests' own footing: a plain role, nothing of the developer's environment, a sane example."""

from __future__ import annotations

import itertools
import os
import re

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connection

from agenticos.tests import emptying, environment

READERS = r'(?:env\.\w+|one_of|number|switch|address|url_config)\(\s*"([A-Z][A-Z0-9_]+)"'


def read_by(path: str) -> set[str]:
    return set(re.findall(READERS, (environment.ROOT / path).read_text(encoding="utf-8")))


@pytest.mark.postgresql
@pytest.mark.django_db
def test_the_tests_connect_as_a_role_that_row_level_security_binds():
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False,)


@pytest.mark.postgresql
@pytest.mark.django_db
def test_a_child_process_of_a_test_is_bound_too():
    """Also one of a parallel worker, whose environment names the server's superuser."""
    import psycopg  # SQLite's machines have no libpq

    with psycopg.connect(environment.for_children()["DATABASE_URL"]) as link:
        assert link.execute("SELECT session_user").fetchone() == (environment.PLAIN_ROLE,)


@pytest.mark.django_db(transaction=True)
def test_what_is_counted_in_the_database_cache_is_not_left_to_the_next_test():
    caches["database"].set("wrong-passwords", 1)
    emptying.empty()
    assert caches["database"].get("wrong-passwords") is None


def test_the_tests_see_nothing_of_the_developers_environment():
    for name in ("SECRET_KEY", "GHL_BASE_URL"):
        assert getattr(settings, name) == environment.VALUES[name]
    assert str(environment.ROOT) not in str(settings.DATABASES["default"]["NAME"])


def test_the_example_lists_every_variable_that_is_read():
    listed = environment.variables()
    read = read_by("agenticos/settings.py") | read_by("agenticos/provisioning.py")
    assert len(listed) == len(set(listed))
    assert read - set(listed) == set()
    assert set(listed) - read == set()


def test_every_variable_of_the_example_has_a_sentence():
    lines = (environment.ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"(# )?[A-Z][A-Z0-9_]+=", line) and "API_KEY" not in line:
            assert before.startswith("# "), line


def test_the_example_holds_no_secret():
    text = (environment.ROOT / ".env.example").read_text(encoding="utf-8")
    for name in ("SECRET_KEY", "CREDENTIAL_KEYS", "GHL_API_KEY", "OPENAI_API_KEY"):
        assert re.search(rf"^(# )?{name}=$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DEBUG", "maybe", "on or off"),
        ("Q_WORKERS", "none", "a whole number of 1 or more"),
        ("Q_WORKERS", "0", "a whole number of 1 or more"),
        ("LOG_LEVEL", "LOUD", "one of"),
        ("TIME_ZONE", "Sao Paulo", "IANA time zone"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x", "postgres://"),
        ("REDIS_URL", "http://cache", "redis://"),
        ("GHL_BASE_URL", "services.example", "an address"),
        ("CREDENTIAL_KEYS", "k1:short", "32 bytes"),
        ("SECRET_KEY", "", "not set"),
        ("LANGUAGE_CODE", "xx", "one of"),
    ],
)
def test_a_wrong_value_stops_the_start_with_a_sentence(name, value, expected):
    done = environment.run_manage("check", **{name: value})
    assert done.returncode == 1
    assert name in done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_production_refuses_unsafe_values():
    for wrong in ({"DEBUG": "on"}, {"SECRET_KEY": "short"}):
        done = environment.run_manage("check", **environment.PRODUCTION, **wrong)
        assert done.returncode == 1
        assert next(iter(wrong)) in done.stderr


def test_djangos_deployment_check_finds_nothing_in_production():
    """Run as an operator runs it; a warning would be an exit of 1, or a word on stderr."""
    done = environment.run_manage(
        "check", "--deploy", "--fail-level", "WARNING", **environment.PRODUCTION
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "System check identified no issues (0 silenced)."


def test_the_environment_wins_over_the_file(tmp_path):
    file = tmp_path / "env"
    file.write_text("Q_WORKERS=7\nLOG_LEVEL=ERROR\n")
    done = environment.run_manage(
        "shell",
        "-v0",
        "-c",
        "from django.conf import settings as s; print(s.Q_WORKERS, s.LOG_LEVEL)",
        ENV_FILE=str(file),
        LOG_LEVEL="DEBUG",
    )
    assert done.stdout.split()[-2:] == ["7", "DEBUG"]
    assert os.environ["ENV_FILE"] == ""
