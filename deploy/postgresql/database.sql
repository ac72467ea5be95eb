-- psql --username postgres --set password="$(cat password)" --file database.sql
-- The role owns its database and nothing else; `liaison-relay migrate` makes the tables.
CREATE ROLE liaison LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
CREATE DATABASE liaison OWNER liaison ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
REVOKE ALL ON DATABASE liaison FROM PUBLIC;
