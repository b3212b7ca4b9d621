"""A portfolio's tables made anew from the rows of a dump, in one transaction: whatever fails, nothing was done."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from string import ascii_lowercase
from typing import Any

from psycopg2 import sql
from psycopg2.extras import RealDictCursor

from core.errors import PortfolioError
from core.postgres.connections import schema_of
from core.postgres.dump import PIECE, TableRows
from core.postgres.errors import translated
from core.postgres.forms import Form, preparation
from core.postgres.journal_stream import JournalStream
from core.postgres.migrations import Migration, functions, migration, tables
from core.postgres.statements import statement

# The version is the migrations' to write; a lease tells of an instance that is gone.
_NOT_LOADED = ("alembic_version", "leader_lease")

_LOCK_WAIT = "10s"
# A journal of many millions of entries is proved in it.
_LIMIT_SECONDS = 24 * 3600.0


class NotOfAPortfolio(PortfolioError):
    """a backup holds a table that the portfolio of its version does not have"""


class Remaking:
    """The transaction. Committed at the end of the block that made it."""

    def __init__(self, upgrading: Migration, portfolio: str) -> None:
        self._migration = upgrading
        self._connection = upgrading.connection
        self._schema = schema_of(portfolio)
        self._table_grants: list[dict[str, Any]] = []
        self._function_grants: list[dict[str, Any]] = []
        with translated(), self._connection.cursor() as cursor:
            # Loading and proving take as long as they take; but whoever else is at these tables is not waited for.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0")
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")

    @property
    def stream(self) -> JournalStream:
        """The portfolio as this transaction sees it."""
        return JournalStream(self._connection)

    def is_empty(self) -> bool:
        """Whether nothing was ever decided or kept here."""
        present = self._present()
        return not any(self._has_rows(name) for name in ("decision_journal", "signal_log") if name in present)

    def term(self) -> int:
        """The highest term that was ever given here; 0 where none was."""
        if "leadership" not in self._present():
            return 0
        rows = self._all(sql.SQL("SELECT term FROM {}").format(self._named("leadership")))
        return int(rows[0]["term"]) if rows else 0

    def set_aside(self, name: str) -> str:
        """Move the portfolio's tables and functions, and nothing else, to a new schema of that name, or of that name and a
        letter where there is one already; its name."""
        name = next(free for letter in ("", *ascii_lowercase) if not self._has_schema(free := name + letter))
        target = sql.Identifier(name)
        self._run(sql.SQL("CREATE SCHEMA {}").format(target))
        self._table_grants = self._list("table_grants", tables())
        self._function_grants = self._list("function_grants", functions())
        for table in self._present():
            self._run(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(self._named(table), target))
        for row in self._list("functions_present", functions()):
            arguments = sql.SQL(row["arguments"])
            found = sql.SQL("FUNCTION {}({})").format(self._named(row["name"]), arguments)
            self._run(sql.SQL("ALTER {} SET SCHEMA {}").format(found, target))
            moved = sql.SQL("FUNCTION {}.{}({})").format(target, sql.Identifier(row["name"]), arguments)
            self._run(sql.SQL("ALTER {} SET search_path = {}").format(moved, target))
        return name

    def remove(self) -> None:
        """Drop the portfolio's tables and functions: there is nothing in them."""
        aside = self.set_aside("portfolio_manager_empty")
        self._run(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(aside)))

    def make(self, version: str) -> None:
        """Make the tables as they were at that version."""
        self._migration.upgrade(version)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Tables that take rows in any order; whether they fit each other is looked at when all are there."""
        foreign_keys = self._list("foreign_keys", tables())
        triggers = self._list("insert_triggers", tables())
        for row in foreign_keys:
            self._alter(row["table_name"], sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(row["name"])))
        for row in triggers:
            # What they demand of a new row is demanded of one that begins, and these went on.
            self._alter(row["table_name"], sql.SQL("DISABLE TRIGGER {}").format(sql.Identifier(row["name"])))
        yield
        for row in triggers:
            self._alter(row["table_name"], sql.SQL("ENABLE TRIGGER {}").format(sql.Identifier(row["name"])))
        for row in foreign_keys:
            added = sql.SQL("ADD CONSTRAINT {} {}").format(sql.Identifier(row["name"]), sql.SQL(row["definition"]))
            self._alter(row["table_name"], added)
        for row in self._list("identity_columns", tables()):
            self._go_on_numbering(row["table_name"], row["name"])
        for table in self._present():
            self._run(sql.SQL("ANALYZE {}").format(self._named(table)))

    def load(self, rows: TableRows) -> bool:
        """Copy a table's rows; False where it is none of a portfolio's."""
        if rows.table not in tables():
            return False
        if rows.table not in _NOT_LOADED:
            if rows.table not in self._present():
                raise NotOfAPortfolio(f"{rows.table} is not a table of the version that the backup says it is of")
            columns = sql.SQL(", ").join(map(sql.Identifier, rows.columns))
            copy = sql.SQL("COPY {} ({}) FROM STDIN").format(self._named(rows.table), columns)
            with translated(), self._connection.cursor() as cursor:
                cursor.copy_expert(copy, rows, PIECE)
        return True

    def upgrade(self) -> None:
        """Bring the tables to the version that this program needs, and give others the rights they had on the old ones."""
        self._migration.upgrade()
        present = self._present()
        for row in self._table_grants:
            if row["name"] in present:
                self._grant(sql.SQL(row["privilege"]), self._named(row["name"]), row["role"])
        for row in self._function_grants:
            function = sql.SQL("FUNCTION {}({})").format(self._named(row["name"]), sql.SQL(row["arguments"]))
            self._run(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(function))
        for row in self._function_grants:
            function = sql.SQL("FUNCTION {}({})").format(self._named(row["name"]), sql.SQL(row["arguments"]))
            self._grant(sql.SQL("EXECUTE"), function, row["role"])

    def set_term(self, term: int, instance_id: str) -> None:
        """No instance of an earlier term can write any more."""
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(statement("set_term"), {"term": term, "instance_id": instance_id})

    def keep(self, document: bytes) -> Mapping[str, Any]:
        """Run `commit_batch` as the writer does; what it met."""
        with translated(), self._connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(preparation(Form.WHOLE))
            cursor.execute(f"EXECUTE {Form.WHOLE} (%s)", (document.decode(),))
            met = dict(cursor.fetchone() or {})
            cursor.execute(f"DEALLOCATE {Form.WHOLE}")
            return met

    def _present(self) -> list[str]:
        return [row["name"] for row in self._list("tables_present", tables())]

    def _has_schema(self, name: str) -> bool:
        rows = self._all(sql.SQL("SELECT to_regnamespace({}) IS NOT NULL AS found").format(sql.Literal(name)))
        return bool(rows[0]["found"])

    def _has_rows(self, table: str) -> bool:
        rows = self._all(sql.SQL("SELECT EXISTS (SELECT FROM {}) AS found").format(self._named(table)))
        return bool(rows[0]["found"])

    def _go_on_numbering(self, table: str, column: str) -> None:
        self._run(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}").format(
                sql.Literal(f"{self._schema}.{table}"),
                sql.Literal(column),
                sql.Identifier(column),
                self._named(table),
            )
        )

    def _grant(self, privilege: sql.SQL, target: sql.Composable, role: str | None) -> None:
        whom = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
        self._run(sql.SQL("GRANT {} ON {} TO {}").format(privilege, target, whom))

    def _alter(self, table: str, what: sql.Composable) -> None:
        self._run(sql.SQL("ALTER TABLE {} {}").format(self._named(table), what))

    def _named(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def _run(self, command: sql.Composable) -> None:
        with translated(), self._connection.cursor() as cursor:
            cursor.execute(command)

    def _list(self, name: str, names: frozenset[str]) -> list[dict[str, Any]]:
        with translated(), self._connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(statement(name), {"schema": self._schema, "names": sorted(names)})
            return [dict(row) for row in cursor.fetchall()]

    def _all(self, query: sql.Composable) -> list[dict[str, Any]]:
        with translated(), self._connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query)
            return [dict(row) for row in cursor.fetchall()]


@contextmanager
def remaking(dsn: str, portfolio: str) -> Iterator[Remaking]:
    """A transaction in the portfolio's schema, which is made where there is none; committed at the block's end."""
    with migration(dsn, portfolio, limit_seconds=_LIMIT_SECONDS) as upgrading:
        yield Remaking(upgrading, portfolio)
