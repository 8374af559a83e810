"""Pages of connections, of the sync log and of its dead letters."""
