"""How long the database lets pages and workers take, wait, and dawdle: in force, not only meant."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from agenticos import queue, scope, sql, timeouts
from agenticos.tests import factories
from leads.models import Lead
from tenants.http import requires
from tenants.models import Membership, User

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

NAMES = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
OF_A_PAGE = ["5s", "2s", "15s"]
OF_A_TASK = ["1min", "10s", "1min"]
NONE = ["0", "0", "0"]
seen: list[list[str]] = []


def in_force() -> list[str]:
    words = ", ".join(f"current_setting('{name}')" for name in NAMES)
    return list(sql.fetch(f"SELECT {words}", [])[0])


@requires("tenant.view")
def page(request: HttpRequest) -> HttpResponse:
    return JsonResponse(in_force(), safe=False)


def work() -> None:
    """A task."""
    seen.append(in_force())
    with transaction.atomic():
        seen.append(in_force())


urlpatterns = [path("t/<slug:tenant>/limits/", page), path("", include("agenticos.urls"))]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_page_has_its_limits(acme, alice, browser, method):
    """A page that is read is one transaction; a post has several, and statements of their own."""
    assert getattr(browser(alice), method)("/t/acme/limits/").json() == OF_A_PAGE


def test_a_task_has_its_limits(acme):
    seen.clear()
    queue.run(f"{__name__}.work", acme.pk)
    assert seen == [OF_A_TASK, OF_A_TASK]


def test_a_transaction_of_nobody_has_them_too():
    """A log-in, an invitation."""
    with timeouts.within(timeouts.PAGE), scope.as_nobody(), transaction.atomic():
        assert in_force() == OF_A_PAGE


def test_a_savepoint_that_is_rolled_back_takes_no_limits_along(acme):
    def fail() -> None:
        with transaction.atomic():
            assert in_force() == OF_A_PAGE
            raise LookupError

    with timeouts.within(timeouts.PAGE), scope.as_tenant(acme), transaction.atomic():
        with pytest.raises(LookupError):
            fail()
        assert in_force() == OF_A_PAGE


def test_nothing_stays_on_the_connection(acme):
    with timeouts.within(timeouts.PAGE), scope.as_tenant(acme):
        assert in_force() == OF_A_PAGE
        with transaction.atomic():
            assert in_force() == OF_A_PAGE
    assert in_force() == NONE


def test_a_wait_that_was_shortened_stays_short(acme):
    with timeouts.within(timeouts.PAGE), scope.as_tenant(acme), transaction.atomic():
        with sql.waiting_at_most(0.5), scope.as_system("test"):
            assert in_force() == ["5s", "500ms", "15s"]
        assert in_force() == OF_A_PAGE


def member_of(person: User) -> int:
    with scope.as_system("test"):
        return Membership.objects.get(user=person).pk


def test_a_lock_that_is_not_let_go_is_given_up_and_a_page_says_so(
    acme, alice, browser, monkeypatch
):
    lead = factories.make_lead(acme, "ana")
    monkeypatch.setattr(timeouts, "PAGE", {**timeouts.PAGE, "lock_timeout": "1ms"})
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with scope.as_system("test"), holder.cursor() as cursor:
            cursor.execute("SELECT 1 FROM leads_lead FOR UPDATE")
        with (
            timeouts.within(timeouts.PAGE),
            scope.as_tenant(acme),
            pytest.raises(OperationalError, match="lock timeout"),
        ):
            Lead.objects.filter(pk=lead.pk).update(city="Recife")
        client = browser(alice)
        client.raise_request_exception = False
        member = str(member_of(alice))
        answer = client.post(f"/t/acme/leads/{lead.pk}/owner/", {"owner": member})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    finally:
        holder.rollback()
        holder.close()
