"""A database_config.json that points commands to a test's database."""

import json
from pathlib import Path

import psycopg2.extensions

_NAMES = {
    "host": "host",
    "port": "port",
    "dbname": "database",
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
}


def pointed_to(dsn: str, file: Path) -> tuple[str, str]:
    """Write `file`, and the options that name it."""
    parts = psycopg2.extensions.parse_dsn(dsn)
    local = {_NAMES[name]: value for name, value in parts.items() if name in _NAMES}
    file.write_text(json.dumps({"local": {**local, "port": int(local.get("port", 5432))}}))
    return "--db-config", str(file)
