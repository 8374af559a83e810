#!/bin/sh
# Run once by the postgres image, on an empty volume: a role that row-level security binds.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" --username postgres <<'SQL'
CREATE ROLE agenticos LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE PASSWORD :'password';
CREATE DATABASE agenticos OWNER agenticos;
SQL
