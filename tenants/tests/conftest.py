"""A trail that is sealed. Django's models are imported inside fixtures."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def chained(acme: Any, alice: Any) -> list[int]:
    """acme with five sealed entries; their ids."""
    from tenants.tests.trail import seal, write

    ids = write(acme, 5, by=alice)
    assert seal(acme) == 5
    return ids
