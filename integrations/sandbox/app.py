"""The sandbox's server: GoHighLevel and Instagram on one port, and the witness's own addresses."""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from integrations.sandbox.calls import Act, Call, Refusal, answer
from integrations.sandbox.faults import Faults, Rule
from integrations.sandbox.ghl import Ghl
from integrations.sandbox.instagram import Instagram
from integrations.sandbox.state import State

SHUTDOWN_S = 3

Provider = Ghl | Instagram


def _door(provider: Provider, act: Act, state: State, faults: Faults) -> Any:
    """The handler of one endpoint: counts, lets the fault rules speak, then acts."""

    def work(call: Call) -> web.Response:
        try:
            provider.guard(call)
            return act(call)
        except Refusal as refusal:
            state.refused[provider.name] += 1
            return answer(refusal.body, refusal.status)

    async def handle(request: web.Request) -> web.Response:
        state.requests[provider.name] += 1
        call = Call(request, await request.read())
        rule = None
        if faults.rules:
            account = provider.account(call)
            rule = faults.match(provider.name, request.method, request.path, account)
        response = work(call) if rule is None else await _misbehave(rule, provider, call, work)
        response.headers.update(provider.headers(call))
        if rule is not None:
            state.faulted[provider.name] += 1
            response.headers.update({name: str(value) for name, value in rule.headers.items()})
        return response

    return handle


async def _misbehave(rule: Rule, provider: Provider, call: Call, work: Act) -> web.Response:
    """Answer as the rule says."""
    if rule.delay_ms:
        await asyncio.sleep(rule.delay_ms / 1000)
    if rule.cut == "before":
        return _hang_up(call)
    if rule.expired_token or rule.challenge:
        refusal = provider.expired() if rule.expired_token else provider.challenge()
        return answer(refusal.body, refusal.status)
    if rule.status is not None and not (rule.accept or rule.cut):
        return _fault(rule, provider, rule.status)
    response = work(call)
    if rule.cut == "after":
        return _hang_up(call)
    if rule.garbage:
        return web.Response(body=b'<<<{"message_id": ', content_type="application/json")
    return response if rule.status is None else _fault(rule, provider, rule.status)


def _hang_up(call: Call) -> web.Response:
    if call.request.transport is not None:
        call.request.transport.abort()
    return web.Response()


def _fault(rule: Rule, provider: Provider, status: int) -> web.Response:
    body = rule.body if rule.body is not None else provider.fault(status)
    if isinstance(body, str):
        response = web.Response(text=body, status=status, content_type="text/html")
    else:
        response = answer(body, status)
    if rule.retry_after is not None:
        response.headers["Retry-After"] = str(rule.retry_after)
    return response


def _witness(state: State, faults: Faults) -> list[web.RouteDef]:
    """The addresses under `/_sandbox/`."""

    async def show(request: web.Request) -> web.Response:
        if request.query.get("summary"):
            return answer({"counts": state.summary()})
        return answer(state.everything())

    async def show_faults(request: web.Request) -> web.Response:
        return answer({"rules": faults.shown()})

    async def set_faults(request: web.Request) -> web.Response:
        try:
            body = await request.json()
            faults.set(body.get("rules") if isinstance(body, dict) else body)
        except ValueError as exc:
            return answer({"error": str(exc)}, 400)
        return answer({"rules": faults.shown()})

    async def clear_faults(request: web.Request) -> web.Response:
        faults.set([])
        return answer({"rules": []})

    async def reset(request: web.Request) -> web.Response:
        state.reset()
        faults.set([])
        return answer({"counts": state.summary()})

    async def health(request: web.Request) -> web.Response:
        return answer({"status": "ok"})

    return [
        web.get("/_sandbox/state", show),
        web.get("/_sandbox/faults", show_faults),
        web.post("/_sandbox/faults", set_faults),
        web.delete("/_sandbox/faults", clear_faults),
        web.post("/_sandbox/reset", reset),
        web.get("/_sandbox/health", health),
    ]


def make_app(
    state: State | None = None, faults: Faults | None = None, *, enforce_limits: bool = False
) -> web.Application:
    """The whole sandbox as an aiohttp application. `enforce_limits`: GHL's 100 per 10 s."""
    state, faults = state or State(), faults or Faults()
    app = web.Application(client_max_size=4 * 1024 * 1024)
    providers: list[Provider] = [Ghl(state, enforce_limits=enforce_limits), Instagram(state)]
    for provider in providers:
        for method, path, act in provider.routes():
            app.router.add_route(method, path, _door(provider, act, state, faults))
    app.router.add_routes(_witness(state, faults))

    async def close(app: web.Application) -> None:
        state.close()

    app.on_cleanup.append(close)
    return app


def run(
    port: int,
    state_file: Path | None = None,
    faults_file: Path | None = None,
    *,
    host: str = "127.0.0.1",
    enforce_limits: bool = False,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; prints the address once it listens. Port 0 picks one."""
    rules = json.loads(faults_file.read_text()) if faults_file else []
    app = make_app(State(state_file), Faults(rules), enforce_limits=enforce_limits)
    asyncio.run(_serve(app, host, port, _stdin_closed if until_stdin_closes else None))


async def _serve(
    app: web.Application, host: str, port: int, gone: Callable[[], Awaitable[None]] | None
) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    print(f"sandbox listening on http://{host}:{runner.addresses[0][1]}", flush=True)
    if gone is not None:
        watch = asyncio.ensure_future(gone())
        watch.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await runner.cleanup()


async def _stdin_closed() -> None:
    """Return when the other end of standard input is closed, as when the parent has died."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
