"""How the kernel is kept in PostgreSQL: the only place for psycopg2, SQL and threads."""
