"""What the rows say, asked by somebody else than the engine."""

from typing import Any

import psycopg2


def rows(dsn: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a query in a transaction of its own; its rows, if it has any."""
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
