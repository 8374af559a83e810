"""No request makes the API stumble, and no answer differs from its document."""

from __future__ import annotations

import pytest
from rest_framework import serializers
from schemathesis.core.failures import FailureGroup

from agenticos.tests import factories, fuzzing_api

pytestmark = pytest.mark.django_db


@pytest.fixture
def target(acme, rung):
    """An owner's key, and rows to aim at."""
    return factories.make_key(acme), fuzzing_api.seed(acme)


@pytest.mark.parametrize("label", fuzzing_api.operations())
def test_what_the_document_allows_is_answered_as_it_says(target, label):
    fuzzing_api.hunt(label, *target, allowed=True, count=fuzzing_api.examples())


@pytest.mark.parametrize(
    "label", [label for label in fuzzing_api.operations() if fuzzing_api.takes_input(label)]
)
def test_what_the_document_forbids_is_refused(target, label):
    fuzzing_api.hunt(label, *target, allowed=False, count=fuzzing_api.examples())


if fuzzing_api.is_long():

    @pytest.mark.parametrize("label", fuzzing_api.operations())
    def test_the_edges_of_what_the_document_allows_hold(target, label):
        assert fuzzing_api.walk_edges(label, *target)


def test_the_hunt_sees_an_answer_of_500(target, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("leads.editing.add_lead", fail)
    with pytest.raises(FailureGroup, match="Server error"):
        fuzzing_api.hunt("POST /api/v1/leads", *target, allowed=True, count=20)


def test_the_hunt_sees_an_answer_that_the_document_does_not_know(target, monkeypatch):
    monkeypatch.setattr("agenticos.api.accounts.iso", lambda moment: "soon")
    with pytest.raises(FailureGroup, match="Response violates schema"):
        fuzzing_api.hunt("GET /api/v1/accounts/{id}/capacity", *target, allowed=True, count=20)


def test_the_hunt_sees_what_is_taken_against_the_document(target, monkeypatch):
    lenient = serializers.Serializer.to_internal_value
    monkeypatch.setattr("agenticos.api.shapes.Strict.to_internal_value", lenient)
    # Which examples there are depends on the modules that are loaded: many, so that one is found.
    with pytest.raises(FailureGroup, match="Schema-violating request accepted"):
        fuzzing_api.hunt("POST /api/v1/accounts/{id}/block", *target, allowed=False, count=400)
