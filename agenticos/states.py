"""States that move only along declared paths, with one winner per move."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext as _

from agenticos.errors import Refused


class Stateful(models.Model):
    """A model whose `state` changes through `move_to` alone."""

    MOVES: ClassVar[Mapping[str, Set[str]]]
    state: Any

    class Meta:
        abstract = True

    def may_move_to(self, state: str) -> bool:
        """Whether the state read last allows this move."""
        return state in self.MOVES.get(self.state, frozenset())

    def move_to(self, state: str, **fields: object) -> None:
        """Move this row to `state` and set `fields`, in one conditional UPDATE.

        Raises Refused when the move is not allowed, or when another writer moved the row first.
        """
        before = self.state
        label = self.get_state_display()  # type: ignore[attr-defined]  # Django makes it
        if not self.may_move_to(state):
            raise Refused(
                _("This is not possible while the state is “%(state)s”.") % {"state": label},
                code="wrong_state",
            )
        rows = type(self)._base_manager.filter(pk=self.pk).filter(**{"state": before})
        if not rows.update(**{"state": state, **fields}):
            raise Refused(
                _("Somebody else changed this a moment ago. Look at it again."), code="changed"
            )
        self.state = state
        for name, value in fields.items():
            setattr(self, name, value)
