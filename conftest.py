"""What every test stands on: the environment, the engines, the rings, the clock, the cast.

The environment is set here, before Django reads its settings: tests see nothing of `.env`, of
`var/local.env` or of the shell but TEST_DATABASE_URL and TEST_REDIS_URL. So imports of Django's
models stand inside fixtures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from agenticos.tests import environment

environment.enter()

import hypothesis  # noqa: E402  # after the environment is set
import pytest  # noqa: E402  # after the environment is set

# The same examples in every run of the same code: a suite that is green stays green. New ones are
# looked for with `HYPOTHESIS_PROFILE=default`.
hypothesis.settings.register_profile("suite", derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# They import what only a benchmark's own environment has.
collect_ignore_glob = ["agenticos/bench/peers/*_peer.py"]


def pytest_configure(config: pytest.Config) -> None:
    environment.name_databases()
    environment.name_redis()


def pytest_unconfigure(config: pytest.Config) -> None:
    environment.remove_folder()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, there in (
        ("postgresql", environment.has_postgresql()),
        ("redis", environment.has_redis()),
    ):
        for item in items:
            if not there and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{marker} is not covered by this run"))


@pytest.fixture(autouse=True, scope="session")
def _empty_quickly() -> Iterator[None]:
    """Django's flush makes all types and rights anew, and truncates every table: half a second."""
    from django.test import TransactionTestCase

    from agenticos.tests.emptying import empty

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: empty())
        yield


@pytest.fixture(autouse=True)
def _fresh(settings: Any, tmp_path: Any) -> Iterator[None]:
    """Files and mail of a test go to its own folder; the cheapest hash serves for passwords.

    Nobody is limited, unless the test says how.
    """
    from agenticos import limits, scope

    storages = {name: dict(value) for name, value in settings.STORAGES.items()}
    storages["default"]["OPTIONS"] = {"location": tmp_path / "files"}
    storages["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = storages
    # Each test client's middleware reads the whole folder, which another test may be filling.
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.API_LIMITS = dict.fromkeys(settings.API_LIMITS, (10**6, 10**6))
    if environment.has_redis():  # which no rollback empties; the number is this worker's own
        from django.core.cache import cache

        cache.clear()
    with scope.as_nobody():
        yield
    limits.close()  # or the test database could not be dropped


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """What `enqueue` rang for, as (task, ids), instead of a ring in the broker's table."""
    from agenticos import queue

    rings: list[tuple[str, tuple[int, ...]]] = []

    def ring(runner: str, task: str, tenant_id: int | None, *ids: int, **options: Any) -> None:
        rings.append((task, ids))

    monkeypatch.setattr(queue, "async_task", ring)
    return rings


class FakeClock:
    """A slice's clock that moves when it is told to, and when somebody sleeps on it."""

    def __init__(self, now: datetime) -> None:
        self._now = self.began = now

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> float:
        return (self._now - self.began).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.move(seconds)

    def move(self, seconds: float) -> datetime:
        """Let `seconds` pass; return what time it is then."""
        self._now += timedelta(seconds=seconds)
        return self._now


@pytest.fixture
def clock() -> FakeClock:
    """Wednesday, 4 March 2026, noon in São Paulo. Pass it, or `clock.now()`, to what needs one."""
    return FakeClock(datetime(2026, 3, 4, 15, 0, tzinfo=UTC))


@pytest.fixture
def in_tenant() -> Iterator[Callable[[Any], None]]:
    """`in_tenant(acme)` enters a tenant's scope for the rest of the test."""
    from contextlib import ExitStack

    from agenticos import scope

    with ExitStack() as stack:
        yield lambda tenant: stack.enter_context(scope.as_tenant(tenant))


@pytest.fixture
def in_system() -> Iterator[None]:
    """The whole test runs across all tenants, as sweeps do."""
    from agenticos import scope

    with scope.as_system("test"):
        yield


# --- The cast: alice owns acme, vera views it, charlie owns a rival. The rows are in factories.py.


@pytest.fixture
def acme(db: None) -> Any:
    """The tenant that tests are about."""
    from agenticos.tests.factories import make_tenant

    return make_tenant("acme")


@pytest.fixture
def rival(db: None) -> Any:
    """Another tenant, which must see nothing of acme."""
    from agenticos.tests.factories import make_tenant

    return make_tenant("rival")


def _person(name: str, tenant: Any, role: str) -> Any:
    from agenticos.tests.factories import make_member, make_user

    return make_member(tenant, role, make_user(f"{name}@example.com", name=name.title())).user


@pytest.fixture
def alice(acme: Any) -> Any:
    """She owns acme."""
    return _person("alice", acme, "owner")


@pytest.fixture
def vera(acme: Any) -> Any:
    """She views acme."""
    return _person("vera", acme, "viewer")


@pytest.fixture
def charlie(rival: Any) -> Any:
    """He owns the rival."""
    return _person("charlie", rival, "owner")


@pytest.fixture
def browser() -> Callable[..., Any]:
    """`browser(alice)` is her logged-in client; `browser(alice, htmx="rows")` asks for a part.

    She has just given her password, unless `fresh=False`.
    """
    from django.test import Client

    from agenticos.tests.factories import refresh

    def open_for(user: Any = None, *, htmx: str = "", fresh: bool = True) -> Client:
        headers = {"HX-Request": "true", "HX-Target": htmx} if htmx else {}
        client = Client(headers=headers)
        if user is not None:
            client.force_login(user)
            if fresh:
                refresh(client, user)
        return client

    return open_for


@pytest.fixture
def api(acme: Any) -> Any:
    """A program that calls acme's API with a key of its owner's."""
    from agenticos.tests import factories

    return factories.api_client(factories.make_key(acme))
