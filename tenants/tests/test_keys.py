"""The form of API keys: what is refused without asking, what is stored, what compares."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tenants import keys


def test_a_key_reads_back_and_compares():
    made = keys.make_key()
    read = keys.read_key(made.text)
    assert read is not None
    assert read.public_id == made.public_id
    assert keys.verify(read.secret, made.digest)
    assert made.text.endswith(made.last_four)


def test_the_text_is_not_in_what_is_stored():
    made = keys.make_key()
    secret = keys.read_key(made.text).secret
    assert secret not in repr((made.public_id, made.digest, made.last_four))
    assert len(made.digest) == 32


def test_keys_differ():
    assert len({keys.make_key().text for _ in range(200)}) == 200


@pytest.mark.parametrize("at", [0, 5, 20, 40, 61, 65])
def test_one_changed_character_is_refused_by_the_checksum(at):
    text = keys.make_key().text
    changed = text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]
    assert keys.read_key(changed) is None


@given(st.text(max_size=90))
def test_strangers_texts_are_refused_and_never_raise(text):
    assert keys.read_key(text) is None
    assert keys.read_key("aos_" + text) is None


def test_another_keys_secret_does_not_compare():
    assert not keys.verify(keys.read_key(keys.make_key().text).secret, keys.make_key().digest)
