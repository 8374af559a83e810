"""What a file may hold, and what of it a lead takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

# Limits: security.md part 10.
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_ROWS: Final = 1_000_000
MAX_COLUMNS: Final = 200
MAX_CELL: Final = 32 * 1024  # bytes in UTF-8
MAX_COUNT: Final = 2_000_000_000  # a person has fewer followers, and it fits a 32-bit column
MAX_PERCENT: Final = 1_000
BLOCK: Final = 256 * 1024  # bytes read at a time

# Characters kept of each text (the columns of `Lead` hold as many); what is longer is cut, with a
# warning.
TEXT_LIMITS: Final[dict[str, int]] = {
    "name": 200,
    "bio": 4_000,
    "category": 100,
    "frequency": 40,
    "city": 100,
}
# Cutting these would make another address or another person: too long is left out.
WEBSITE_LIMIT: Final = 300
GHL_ID_LIMIT: Final = 80

FIELDS: Final = (
    "handle", "name", "bio", "followers", "following", "posts", "recent_posts", "engagement",
    "is_private", "is_business", "is_verified", "category", "frequency", "email", "phone", "city",
    "website", "ghl_id",
)  # fmt: skip
# What a column may be mapped to: a profile's address only fills in for a missing handle.
TARGETS: Final = (*FIELDS, "profile_url")

Value = str | int | bool | Decimal
