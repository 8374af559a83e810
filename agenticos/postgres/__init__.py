"""PostgreSQL with row-level security: Django's backend, and the scope carried to the server."""
