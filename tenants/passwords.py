"""What a password must not be, besides short, common or one's own name."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

PRODUCT_WORDS = (
    "agenticos", "agentic", "gohighlevel", "highlevel", "instagram", "dashboard", "campaign",
    "outreach", "password", "senha",
)  # fmt: skip
OWN_LEAST = 8


class MaximumLengthValidator:
    """No password so long that hashing it is an attack."""

    def __init__(self, max_length: int = 128) -> None:
        self.max_length = max_length

    def validate(self, password: str, user: Any = None) -> None:
        if len(password) > self.max_length:
            raise ValidationError(self.get_help_text(), code="password_too_long")

    def get_help_text(self) -> str:
        return _("Your password can have at most %(most)d characters.") % {"most": self.max_length}


class ProductWordsValidator:
    """No password that is the product's words, digits and signs, and little else."""

    def validate(self, password: str, user: Any = None) -> None:
        rest = re.sub("|".join(PRODUCT_WORDS), "", password.lower())
        if rest != password.lower() and len(re.sub(r"[\W\d_]", "", rest)) < OWN_LEAST:
            raise ValidationError(self.get_help_text(), code="password_of_product_words")

    def get_help_text(self) -> str:
        return _("Your password can’t be made of this product’s words.")
