"""What programs may send: bodies, queries and uploads, attacked; and lies told to the server."""

from __future__ import annotations

import json
import socket
import threading

import pytest
import waitress
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.wsgi import get_wsgi_application
from django.db import OperationalError
from hypothesis import given, settings as hypothesis_settings, strategies as st
from waitress import wasyncore

from agenticos import scope
from agenticos.api import parsing
from agenticos.api.problems import Problem
from agenticos.management.commands.web import BODY_MAX
from agenticos.tests import factories
from agenticos.tests.test_api import code_of
from agenticos.tests.test_api_limits import forget
from leads.models import LeadImport

JSON = "application/json"

# --- Any JSON at all --------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=[]), max_size=8) | st.sampled_from(
    ["\x00", "a\x00", "\ud800", "\udfff\ud800", "\U0001f600", ""]
)
numbers = st.sampled_from(
    ["0", "-0", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "-Infinity", "9" * 30, "9" * 5000]
)
scalars = (
    st.none().map(json.dumps)
    | st.booleans().map(json.dumps)
    | st.integers().map(json.dumps)
    | st.floats(allow_nan=True).map(json.dumps)
    | numbers
    | texts.map(json.dumps)
)
written = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(texts.map(json.dumps), inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=20,
)
deep = st.tuples(st.integers(0, 60), scalars).map(lambda one: "[" * one[0] + one[1] + "]" * one[0])


def read(body):
    """The value of a body, or the problem with it."""
    try:
        return parsing.read_json(body), None
    except Problem as problem:
        return None, problem


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def texts_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        yield from value if isinstance(value, dict) else ()
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_of(item)


@given(written | deep)
@hypothesis_settings(max_examples=400, deadline=None)
def test_what_the_parser_lets_in_can_be_stored_and_said_again(text):
    value, problem = read(text.encode("utf-8", "surrogatepass"))
    if problem:
        assert problem.status == 400
        assert problem.code in {"bad_json", "bad_text", "too_deep"}
        return
    assert depth_of(value) <= parsing.MAX_DEPTH
    for found in texts_of(value):
        assert "\x00" not in found
        found.encode()
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@given(st.binary(max_size=60))
@hypothesis_settings(max_examples=300, deadline=None)
def test_any_bytes_are_json_or_a_problem(body):
    _, problem = read(body)
    assert problem is None or problem.status == 400


@pytest.mark.parametrize("depth", [32, 33])
@pytest.mark.parametrize("kind", ["[{}]", '{{"a":{}}}'])
def test_the_depth_is_counted_alike_for_lists_and_objects(depth, kind):
    text = "1"
    for _ in range(depth):
        text = kind.format(text)
    if depth <= parsing.MAX_DEPTH:
        assert depth_of(parsing.read_json(text.encode())) == depth
    else:
        with pytest.raises(Problem, match="nested"):
            parsing.read_json(text.encode())


@pytest.mark.django_db
@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"9" * 5000])
def test_a_number_that_is_none_is_400(api, number):
    body = b'{"config": {"thresholds": {"hot": ' + number + b"}}}"
    assert code_of(api.put("/api/v1/icp", body, JSON)) == (400, "bad_json")


@pytest.mark.django_db
@pytest.mark.parametrize("words", ["connection timeout expired", "connection failed: FATAL: no"])
def test_a_database_that_cannot_be_reached_is_503_and_worth_another_try(api, monkeypatch, words):
    def fail(*args, **options):
        raise OperationalError(words)

    monkeypatch.setattr("agenticos.api.base.caller_of", fail)
    answer = api.get("/api/v1/leads")
    assert code_of(answer) == (503, "busy")
    assert answer["Retry-After"] == "1"


# --- Media types, queries, uploads ------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "kind",
    [
        "text/plain", "application/xml", "application/x-www-form-urlencoded", "text/json",
        "multipart/form-data; boundary=x", "application/json5", "application/*", "*/*", "x", "",
    ],
)  # fmt: skip
def test_another_media_type_is_415(acme, api, kind):
    answer = api.post("/api/v1/leads", b'{"handle": "ana"}', kind)
    assert code_of(answer)[0] == 415
    with scope.as_tenant(acme):
        assert not acme.leads.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_by_another_spelling_is_json(api, kind):
    assert api.post("/api/v1/leads", b'{"handle": "ana"}', kind).status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    [
        "limit=1&limit=2", "limit=1e3", "limit=-1", "limit=%00", "%00=1", "q=%ed%a0%80%00",
        "limit=" + "9" * 40, "cursor=" + "A" * 5000, "a[]=1", "min_score=NaN", "limit=1;limit=2",
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_400(api, query):
    assert api.get(f"/api/v1/leads?{query}").status_code == 400


@pytest.fixture
def upload(api, rung):
    def send(*files, **fields):
        return api.post("/api/v1/imports", {"file": list(files), **fields})

    return send


def csv(name="leads.csv", content=b"username\nana\n"):
    return SimpleUploadedFile(name, content, "text/csv")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "..\\..\\x", "a" * 400 + ".csv", "a\x00b.csv", ".", "..", "",
        "\u202evsc.x", 'a"; x="b', "a\r\nX: y",
    ],
)  # fmt: skip
def test_the_name_of_a_file_is_only_ever_a_text(acme, api, rung, name):
    body = (
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: text/csv\r\n\r\nusername\nana\n\r\n--b--\r\n"
    )
    kind = "multipart/form-data; boundary=b"
    assert api.post("/api/v1/imports", body.encode(), kind).status_code in (202, 400)
    with scope.as_tenant(acme):
        for row in LeadImport.objects.all():
            assert "/" not in row.file_name
            assert "\x00" not in row.file_name


@pytest.mark.django_db
def test_a_form_has_each_part_once_and_few(acme, upload):
    assert code_of(upload(csv(), csv()))[0] == 400
    assert code_of(upload(csv(), list_name=["a", "b"]))[0] == 400
    assert code_of(upload(csv(), other="x")) == (400, "invalid")
    assert code_of(upload(csv(), list_name="a\x00")) == (400, "bad_text")
    assert code_of(upload(csv(), list_name="x" * 3_000_000)) == (400, "bad_body")
    many = {f"field{number}": "x" for number in range(1500)}
    assert code_of(upload(csv(), **many)) == (400, "bad_body")
    assert code_of(upload(*[csv() for _ in range(150)]))[0] == 400
    assert code_of(upload()) == (400, "invalid")
    assert upload(csv(content=b"")).status_code in (400, 409)
    assert upload(csv(), list_name="Autumn").status_code == 202


@pytest.mark.django_db
def test_a_form_that_is_none_is_400(api):
    for kind, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=" + "b" * 300, b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b; boundary=c", b"--c\r\n\r\n--c--"),
        ("multipart/form-data; boundary=\u00e4", b"x"),
    ):
        answer = api.post("/api/v1/imports", body, kind)
        assert answer.status_code == 400, (kind, answer.content)
        assert answer["Content-Type"] == "application/problem+json"


# --- Lies on the line: the real server, and bytes by hand ---------------------------------------


@pytest.fixture
def line(transactional_db):
    """`line(bytes)`: what waitress, as `make run` starts it, answers to bytes of a connection."""
    server = waitress.create_server(
        get_wsgi_application(),
        listen="127.0.0.1:0",
        threads=2,
        ident="",
        max_request_body_size=BODY_MAX,
        clear_untrusted_proxy_headers=False,
        channel_timeout=5,
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def send(data, *, finish=True):
        address = ("127.0.0.1", server.effective_port)
        with socket.create_connection(address, timeout=30) as link:
            try:
                link.sendall(data)
                if finish:
                    link.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has heard enough
            answer = b""
            try:
                while piece := link.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
        return answer

    yield send
    # In its own loop, which ends when nothing is left to listen to.
    server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
    thread.join(30)
    server.task_dispatcher.shutdown(timeout=30)


@pytest.fixture
def head(acme):
    """The first lines of a POST of a lead with a good key."""
    key = factories.make_key(acme)

    def write(*headers, path="/api/v1/leads", method="POST", kind=JSON):
        lines = [
            f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}",
            f"Content-Type: {kind}", "Connection: close", *headers, "", "",
        ]  # fmt: skip
        return "\r\n".join(lines).encode("latin-1")

    return write


def statuses(answer):
    return [int(part[1:4]) for part in answer.split(b"HTTP/1.1")[1:]]


BODY = b'{"handle": "ana"}'


def handles(acme):
    with scope.as_tenant(acme):
        return sorted(acme.leads.values_list("handle", flat=True))


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_an_honest_request_is_served(acme, line, head):
    answer = line(head(f"Content-Length: {len(BODY)}") + BODY)
    assert statuses(answer) == [201]
    assert b"ratelimit-remaining: " in answer.lower()
    assert handles(acme) == ["ana"]


def test_the_server_hands_on_what_a_proxy_says_of_the_client(acme, line, settings):
    """Else all the world behind a proxy would share one limit, the proxy's."""
    settings.TRUSTED_PROXIES = 1
    settings.API_LIMITS = {**settings.API_LIMITS, "stranger": (0.01, 1)}
    forget(settings)

    def knock(seen):
        lines = [
            "GET /api/v1/leads HTTP/1.1",
            "Host: localhost",
            f"X-Forwarded-For: 1.1.1.1, {seen}",
        ]
        return statuses(line("\r\n".join([*lines, "Connection: close", "", ""]).encode()))

    assert [knock(seen) for seen in ("203.0.113.7", "203.0.113.7", "203.0.113.8")] == [
        [401], [429], [401],
    ]  # fmt: skip
    forget(settings)


def test_a_chunked_body_is_a_body(acme, line, head):
    answer = line(head("Transfer-Encoding: chunked") + chunked(BODY[:5], BODY[5:]))
    assert statuses(answer) == [201]
    assert handles(acme) == ["ana"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Length: 5"], BODY),  # less than there is
        (["Content-Length: 500"], BODY),  # more than comes
        (["Content-Length: -1"], BODY),
        (["Content-Length: +17"], BODY),
        (["Content-Length: 0x11"], BODY),
        (["Content-Length: 17, 17"], BODY),
        (["Content-Length: 17", "Content-Length: 5"], BODY),
        (["Content-Length: 99999999999999"], BODY),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], b"zz"),
        (["Transfer-Encoding: chunked"], b"11\r\n" + BODY),
        (["Transfer-Encoding: chunked"], b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked, identity"], BODY),
        (["Transfer-Encoding: gzip"], BODY),
        (["Content-Length: 17", "Content-Encoding: gzip"], b"\x1f\x8b" + BODY[:15]),
        (["Content-Length: 17", "Bad Header: x"], BODY),
        (["Content-Length: 17", "X: a\x00b"], BODY),
        (["Content_Length: 17"], BODY),
    ],
)
def test_a_lie_about_the_body_stores_nothing_and_is_no_fault(acme, line, head, headers, body):
    codes = statuses(line(head(*headers) + body))
    assert all(code < 500 or code == 501 for code in codes), codes
    assert 201 not in codes
    assert handles(acme) == []
    honest = line(head(f"Content-Length: {len(BODY)}") + BODY)
    assert statuses(honest) == [201]


def test_a_body_over_the_limit_is_400_also_in_chunks(acme, line, head):
    large = b'{"bio": "' + b"x" * parsing.MAX_BYTES + b'"}'
    plain = line(head(f"Content-Length: {len(large)}") + large)
    in_chunks = line(head("Transfer-Encoding: chunked") + chunked(large[:1000], large[1000:]))
    for answer in (plain, in_chunks):
        assert statuses(answer) == [400]
        assert b"body_too_large" in answer


def test_a_body_that_no_address_takes_is_cut_off_by_the_server(acme, line, head):
    answer = line(head(f"Content-Length: {BODY_MAX + 1}") + b"x" * 1000, finish=False)
    assert statuses(answer) == [413]


@pytest.mark.parametrize(
    "headers",
    [
        ["Authorization: Bearer a\x00b"], ["Authorization: Bearer \xe4\xf6"],
        ["Authorization: Bearer " + "A" * 60_000], ["Idempotency-Key: a\x00"],
        ["Accept-Language: " + "a," * 5000], ["Accept: a/b; q=" + "9" * 5000],
        ["X-Forwarded-For: " + "1," * 5000], ["Cookie: sessionid=\x01; " + "x=1;" * 2000],
        ["X-HTTP-Method-Override: DELETE"], ["Expect: nonsense"],
    ],
)  # fmt: skip
def test_no_header_makes_the_server_stumble(acme, line, head, headers):
    codes = statuses(line(head(f"Content-Length: {len(BODY)}", *headers) + BODY))
    assert all(code < 500 for code in codes), codes


@pytest.mark.parametrize("method", ["get", "PROPFIND", "TRACE", "CONNECT", "PO ST", ""])
def test_no_method_makes_the_server_stumble(acme, line, head, method):
    codes = statuses(line(head("Content-Length: 0", method=method)))
    assert all(400 <= code < 500 for code in codes), codes
