-- The two roles of a database, run once by a superuser in that database; the passwords come from the environment:
--   MIGRATION_PASSWORD=… SERVICE_PASSWORD=… psql --dbname posthorn --file roles.sql
-- posthorn_migration owns the database and runs "posthorn migrate --grant-to posthorn_service"; the service connects as
-- the other. Neither is a superuser, and neither may connect to another database than PostgreSQL lets everybody.
\set ON_ERROR_STOP on
\getenv migration_password MIGRATION_PASSWORD
\getenv service_password SERVICE_PASSWORD

BEGIN;
CREATE ROLE posthorn_migration LOGIN PASSWORD :'migration_password';
CREATE ROLE posthorn_service LOGIN PASSWORD :'service_password';
GRANT posthorn_service TO posthorn_migration; -- to alter the tables that the service owns
ALTER DATABASE :"DBNAME" OWNER TO posthorn_migration;
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO posthorn_service;
COMMIT;
