"""How settings read the environment: each reader names the variable when its value is wrong.

All raise ImproperlyConfigured, with what is expected; values that may be secrets are not shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

env = environ.Env()
# ENV_FILE names another file to read, or with an empty value none: tests read none.
_files = (
    [Path(os.environ["ENV_FILE"])]
    if os.environ.get("ENV_FILE")
    else []
    if "ENV_FILE" in os.environ
    else [BASE_DIR / ".env", VAR_DIR / "local.env"]
)
for _file in _files:
    if _file.is_file():
        environ.Env.read_env(_file)  # what the environment says already wins
        break


def wrong(name: str, expected: str, *, show: bool = True) -> ImproperlyConfigured:
    """The error of a wrong value: a sentence with the variable's name and what is expected."""
    value = f" is {env.str(name, '')!r}" if show else " is wrong"
    return ImproperlyConfigured(f"{name}{value}; expected {expected}.")


def one_of(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = env.str(name, default)
    if value not in allowed:
        raise wrong(name, f"one of: {', '.join(allowed)}")
    return str(value)


def number(name: str, default: int, *, least: int = 1) -> int:
    try:
        value = int(env.str(name, "") or default)
    except ValueError:
        raise wrong(name, f"a whole number of {least} or more") from None
    if value < least:
        raise wrong(name, f"a whole number of {least} or more")
    return value


def switch(name: str, default: bool) -> bool:
    value = env.str(name, "").lower()
    if value not in {"", "on", "off", "true", "false", "yes", "no", "1", "0"}:
        raise wrong(name, "on or off")
    return value in {"on", "true", "yes", "1"} if value else default


def address(name: str, default: str) -> str:
    value = env.str(name, "") or default
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query:
        raise wrong(name, "an address such as https://host/path")
    return value.rstrip("/")


def origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def url_config(name: str, read: Callable[[str], dict[str, Any]], example: str) -> dict[str, Any]:
    """A Django setting out of a URL, which may hold a password and so is not shown."""
    try:
        config = read(env.str(name))
    except Exception as error:
        raise wrong(name, f"an address such as {example}", show=False) from error
    return config
