"""The first step of `make run`: the keys and addresses of a machine of one's own.

Writes `var/local.env` once, unless there is a `.env`. It runs before there are settings, so it
knows only the standard library: `python -m agenticos.bootstrap`.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import secrets
import sys
from pathlib import Path

from agenticos import running

ROOT = Path(__file__).resolve().parent.parent
LOCAL = (
    "# Written by `make run` for this machine alone. Deleting it makes stored secrets unreadable.\n"
)


def values(sandbox_port: int) -> dict[str, str]:
    """What a machine of one's own needs; the keys are new with every call."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "CREDENTIAL_KEYS": "k1:" + base64.b64encode(os.urandom(32)).decode(),
        "JWT_KEYS": _token_key(),
        "REQUIRE_MFA": "off",
        "OUTBOUND_ALLOW_PRIVATE": "on",
        # What `make run` prints for people must not scroll away.
        "LOG_LEVEL": "WARNING",
        **addresses(sandbox_port),
    }


def _token_key() -> str:
    return "j1:" + base64.b64encode(os.urandom(32)).decode()


def addresses(sandbox_port: int) -> dict[str, str]:
    """Where the loopback providers answer."""
    base = f"http://127.0.0.1:{sandbox_port}"
    return {
        "SANDBOX_PORT": str(sandbox_port),
        "GHL_BASE_URL": f"{base}/ghl",
        "INSTAGRAM_GRAPH_BASE_URL": f"{base}/instagram/v25.0",
    }


def ensure(root: Path, sandbox_port: int) -> bool:
    """Make `var/local.env` when neither it nor `.env` exists; return whether it was made.

    In an existing one the sandbox's addresses follow the port, and a missing key of tokens is
    added; what else stands there stays, keys above all. Addresses that point elsewhere are
    somebody's choice and stay too, and so does everything while AgenticOS runs here.
    """
    file = root / "var" / "local.env"
    if (root / ".env").is_file():
        return False
    try:
        with running.only_one(root / "var" / "run.lock"):
            return _ensure(file, sandbox_port)
    except running.AlreadyRunning:
        return False


def _ensure(file: Path, sandbox_port: int) -> bool:
    if not file.is_file():
        lines = [f"{name}={value}\n" for name, value in values(sandbox_port).items()]
        _write(file, LOCAL + "".join(lines))
        return True
    text = old = file.read_text(encoding="utf-8")
    for name, value in addresses(sandbox_port).items():
        pattern = rf"^{name}=(?:\d+|http://127\.0\.0\.1:\d+/\S*)$"
        text = re.sub(pattern, f"{name}={value}", text, flags=re.MULTILINE)
        if not re.search(rf"^{name}=", text, re.MULTILINE):
            text = f"{text.rstrip()}\n{name}={value}\n"
    if not re.search(r"^JWT_KEYS=", text, re.MULTILINE):  # a file from before there were tokens
        text = f"{text.rstrip()}\nJWT_KEYS={_token_key()}\n"
    if text != old:
        _write(file, text)
    return False


def _write(file: Path, text: str) -> None:
    """Write in one step, readable by its owner alone: nobody sees half of a key."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="agenticos.bootstrap", description=__doc__)
    parser.add_argument("--sandbox-port", type=int, default=9009)
    port = parser.parse_args().sandbox_port
    if not 1 <= port <= 65535:
        sys.exit(f"SANDBOX_PORT is {port}; expected a port from 1 to 65535.")
    try:
        if ensure(ROOT, port):
            print("Made var/local.env with new keys, for this machine alone.")
    except OSError as error:
        sys.exit(f"var/local.env cannot be written: {error.strerror}. May you write in {ROOT}?")


if __name__ == "__main__":
    main()
