-- The roles of AgenticOS. Run once per server, as a superuser; it may be repeated:
--
--     psql -f agenticos/postgres/roles.sql postgres
--     \password app_owner     \password app_web
--     CREATE DATABASE agenticos OWNER app_owner;
--
-- app_owner   owns the tables and migrates.
-- app_web     runs pages and workers; row-level security binds it.
-- app_system  nobody logs in as it; sweeps over all tenants become it for a transaction.
--
-- Rights on tables are given by `manage.py migrate`. app_web does not inherit what app_system may:
-- it has to become it.
DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('agenticos.roles'));
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_owner') THEN
        CREATE ROLE app_owner LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_web') THEN
        CREATE ROLE app_web LOGIN NOINHERIT;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_system') THEN
        CREATE ROLE app_system NOLOGIN BYPASSRLS;
    END IF;
    -- It inherits: since PostgreSQL 15 a database's owner makes tables by being pg_database_owner.
    ALTER ROLE app_owner NOSUPERUSER NOBYPASSRLS NOCREATEROLE INHERIT;
    ALTER ROLE app_web NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOINHERIT;
    ALTER ROLE app_system NOLOGIN NOSUPERUSER BYPASSRLS NOCREATEROLE NOCREATEDB;
    GRANT app_system TO app_owner, app_web;
END
$$;
