#!/bin/sh
# Run once by the postgres image, on an empty volume: the roles, and a database that they share.
set -eu
psql -v ON_ERROR_STOP=1 --username postgres -f /roles.sql
psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" --username postgres <<'SQL'
ALTER ROLE app_owner PASSWORD :'password';
ALTER ROLE app_web PASSWORD :'password';
CREATE DATABASE agenticos OWNER app_owner;
SQL
