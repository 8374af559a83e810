"""What a page leaves behind."""

from __future__ import annotations

import gc
import weakref

import pytest
from django.template import TemplateDoesNotExist, loader


class Row:
    """Something that a page shows."""


def test_what_a_page_shows_is_gone_with_it(tmp_path, settings, rf):
    engine = {**settings.TEMPLATES[0], "DIRS": [tmp_path]}
    settings.TEMPLATES = [engine]
    (tmp_path / "rows.html").write_text("{% for row in rows %}{{ row.name }}{% endfor %}")
    row = Row()
    row.name = "Ana"
    seen = weakref.ref(row)
    gc.disable()
    try:
        assert loader.render_to_string("rows.html", {"rows": [row]}, rf.get("/")) == "Ana"
        del row
        assert seen() is None
    finally:
        gc.enable()


def test_a_missing_part_is_named(tmp_path, settings):
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    (tmp_path / "whole.html").write_text('{% include "nowhere.html" %}')
    with pytest.raises(TemplateDoesNotExist, match=r"nowhere\.html"):
        loader.render_to_string("whole.html", {})
