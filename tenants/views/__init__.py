"""Pages of tenants, by subject: a person's preferences, the team, the settings."""
