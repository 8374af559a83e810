"""`make run`'s first step: keys that are made once, addresses that follow the port."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys

import pytest

from agenticos import bootstrap, running
from agenticos.tests.environment import ROOT


def local(root):
    return root / "var" / "local.env"


def values(root):
    lines = local(root).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_a_bare_folder_gets_keys_and_sandbox_addresses(tmp_path):
    assert bootstrap.ensure(tmp_path, 9009)
    found = values(tmp_path)
    assert len(found["SECRET_KEY"]) >= 50
    assert found["CREDENTIAL_KEYS"].startswith("k1:")
    assert found["JWT_KEYS"].startswith("j1:")
    assert found["GHL_BASE_URL"] == "http://127.0.0.1:9009/ghl"
    assert found["INSTAGRAM_GRAPH_BASE_URL"] == "http://127.0.0.1:9009/instagram/v25.0"
    assert (found["REQUIRE_MFA"], found["OUTBOUND_ALLOW_PRIVATE"]) == ("off", "on")


def test_the_keys_are_readable_by_their_owner_alone(tmp_path):
    bootstrap.ensure(tmp_path, 9009)
    assert stat.S_IMODE(local(tmp_path).stat().st_mode) == 0o600
    bootstrap.ensure(tmp_path, 9010)
    assert stat.S_IMODE(local(tmp_path).stat().st_mode) == 0o600


def test_a_second_run_keeps_the_keys(tmp_path):
    bootstrap.ensure(tmp_path, 9009)
    before = values(tmp_path)
    assert not bootstrap.ensure(tmp_path, 9009)
    assert values(tmp_path) == before


def test_another_port_moves_the_addresses_and_nothing_else(tmp_path):
    bootstrap.ensure(tmp_path, 9009)
    before = values(tmp_path)
    bootstrap.ensure(tmp_path, 9123)
    after = values(tmp_path)
    assert after["GHL_BASE_URL"] == "http://127.0.0.1:9123/ghl"
    assert after["SANDBOX_PORT"] == "9123"
    for name in ("SECRET_KEY", "CREDENTIAL_KEYS"):
        assert after[name] == before[name]


def test_nothing_changes_under_a_running_system(tmp_path):
    bootstrap.ensure(tmp_path, 9009)
    before = values(tmp_path)
    with running.only_one(tmp_path / "var" / "run.lock"):
        assert not bootstrap.ensure(tmp_path, 9123)
    assert values(tmp_path) == before


def test_an_address_that_points_elsewhere_is_somebodys_choice(tmp_path):
    bootstrap.ensure(tmp_path, 9009)
    text = local(tmp_path).read_text().replace("http://127.0.0.1:9009/ghl", "https://crm.example")
    local(tmp_path).write_text(text)
    bootstrap.ensure(tmp_path, 9123)
    assert values(tmp_path)["GHL_BASE_URL"] == "https://crm.example"


def test_a_folder_with_its_own_settings_is_left_alone(tmp_path):
    (tmp_path / ".env").write_text("SECRET_KEY=mine\n")
    assert not bootstrap.ensure(tmp_path, 9009)
    assert not (tmp_path / "var").exists()


def test_it_runs_on_the_standard_library_alone():
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "agenticos.bootstrap", "--help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_port_that_is_none_is_a_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "agenticos.bootstrap", "--sandbox-port", "99999"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "SANDBOX_PORT is 99999" in done.stderr


def test_the_lock_has_one_holder_and_is_free_afterwards(tmp_path):
    file = tmp_path / "run.lock"
    with running.only_one(file):
        with pytest.raises(running.AlreadyRunning) as caught, running.only_one(file):
            pass
        assert caught.value.pid == os.getpid()
    with running.only_one(file):
        pass


def test_a_port_is_taken_while_somebody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not running.is_free(port)
    assert running.is_free(port)


def test_a_file_from_before_there_were_tokens_gets_their_key_once(tmp_path):
    bootstrap.ensure(tmp_path, 9009)
    text = local(tmp_path).read_text(encoding="utf-8")
    old = "".join(line for line in text.splitlines(True) if not line.startswith("JWT_KEYS="))
    local(tmp_path).write_text(old, encoding="utf-8")
    assert not bootstrap.ensure(tmp_path, 9009)
    first = values(tmp_path)
    assert first["JWT_KEYS"].startswith("j1:")
    bootstrap.ensure(tmp_path, 9009)
    assert values(tmp_path) == first
    assert local(tmp_path).read_text(encoding="utf-8").startswith(old)
