"""Instagram through Meta's official Graph API."""
