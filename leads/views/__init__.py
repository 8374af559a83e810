"""Pages of leads, by subject: the list, one lead, imports."""
