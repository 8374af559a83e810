"""Pages of campaigns, by subject: the list, the panel, the draft, acts, accounts, the tenant."""
