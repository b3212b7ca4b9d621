-- Run once, by the container of PostgreSQL, when its data folder is made: the owner of the tables, and his database.
\getenv password PM_DB_PASSWORD
CREATE ROLE pm_user LOGIN PASSWORD :'password';
CREATE DATABASE portfolio_manager OWNER pm_user ENCODING 'UTF8' TEMPLATE template0;
