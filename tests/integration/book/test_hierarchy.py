"""The tree: FUND > DESK > BOOK > STRATEGY, and no ring, whoever writes at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import pytest

from book.hierarchy import LEVELS
from tests.queries import rows
from tests.waiting import eventually

# What came of each of two statements, made by two sessions at once.
Race = Callable[[str, str], list[str]]


def add(dsn: str, name: str, level: str, parent: int | None = None) -> int:
    ((made,),) = rows(
        dsn,
        "INSERT INTO book.portfolio_node (name, node_type, parent_id, base_ccy) VALUES (%s, %s, %s, 'INR')"
        " RETURNING portfolio_node_id",
        (name, level, parent),
    )
    return int(made)


def put_below(dsn: str, node: int, parent: int | None) -> None:
    rows(dsn, "UPDATE book.portfolio_node SET parent_id = %s WHERE portfolio_node_id = %s", (parent, node))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("above", LEVELS)
def test_a_parent_is_of_a_higher_level(book_dsn: str, above: str, level: str) -> None:
    parent = add(book_dsn, "above", above)
    if LEVELS.index(above) < LEVELS.index(level):
        node = add(book_dsn, "below", level, parent)
        found = rows(book_dsn, "SELECT parent_type FROM book.portfolio_node WHERE portfolio_node_id = %s", (node,))
        assert found == [(above,)]
    else:
        with pytest.raises(psycopg2.errors.CheckViolation, match="ck_portfolio_node_level"):
            add(book_dsn, "below", level, parent)


def test_a_whole_tree_is_read_by_one_recursive_query(book_dsn: str) -> None:
    fund = add(book_dsn, "Fund", "FUND")
    desk = add(book_dsn, "Futures", "DESK", fund)
    book = add(book_dsn, "Trend", "BOOK", desk)
    add(book_dsn, "Pyramids", "STRATEGY", book)
    add(book_dsn, "Apart", "FUND")
    tree = rows(
        book_dsn,
        "WITH RECURSIVE below AS (SELECT portfolio_node_id, name, 0 AS depth FROM book.portfolio_node WHERE name = 'Fund'"
        " UNION ALL SELECT n.portfolio_node_id, n.name, depth + 1 FROM book.portfolio_node n"
        " JOIN below ON n.parent_id = below.portfolio_node_id) SELECT name, depth FROM below ORDER BY depth",
    )
    assert tree == [("Fund", 0), ("Futures", 1), ("Trend", 2), ("Pyramids", 3)]


def test_a_node_is_not_below_itself_nor_below_what_is_below_it(book_dsn: str) -> None:
    desk = add(book_dsn, "desk", "DESK")
    book = add(book_dsn, "book", "BOOK", desk)
    strategy = add(book_dsn, "strategy", "STRATEGY", book)
    for node, parent in ((desk, desk), (desk, book), (desk, strategy), (book, strategy)):
        with pytest.raises(psycopg2.errors.CheckViolation, match="ck_portfolio_node_level"):
            put_below(book_dsn, node, parent)


def test_a_node_moves_to_another_parent_and_becomes_a_root(book_dsn: str) -> None:
    first, second = add(book_dsn, "first", "DESK"), add(book_dsn, "second", "FUND")
    book = add(book_dsn, "book", "BOOK", first)
    put_below(book_dsn, book, second)
    query = "SELECT parent_id, parent_type FROM book.portfolio_node WHERE portfolio_node_id = %s"
    assert rows(book_dsn, query, (book,)) == [(second, "FUND")]
    put_below(book_dsn, book, None)
    assert rows(book_dsn, query, (book,)) == [(None, None)]


def test_a_level_changes_only_where_the_nodes_around_it_bear_it(book_dsn: str) -> None:
    desk = add(book_dsn, "desk", "DESK", add(book_dsn, "fund", "FUND"))
    book = add(book_dsn, "book", "BOOK", desk)
    change = "UPDATE book.portfolio_node SET node_type = %s WHERE portfolio_node_id = %s"
    with pytest.raises(psycopg2.errors.CheckViolation, match="ck_portfolio_node_level"):
        rows(book_dsn, change, ("BOOK", desk))
    rows(book_dsn, change, ("STRATEGY", book))
    rows(book_dsn, change, ("BOOK", desk))
    found = rows(book_dsn, "SELECT parent_type FROM book.portfolio_node WHERE portfolio_node_id = %s", (book,))
    assert found == [("BOOK",)]


@pytest.mark.parametrize("claimed", ["FUND", "DESK", None])
def test_nobody_can_say_that_a_parent_is_what_it_is_not(book_dsn: str, claimed: str | None) -> None:
    book = add(book_dsn, "book", "BOOK")
    other = add(book_dsn, "other", "BOOK")
    rows(book_dsn, "ALTER TABLE book.portfolio_node DISABLE TRIGGER parent_type_is_looked_up")
    with pytest.raises(psycopg2.IntegrityError, match=r"fk_portfolio_node_parent|ck_portfolio_node_parent"):
        rows(
            book_dsn,
            "UPDATE book.portfolio_node SET parent_id = %s, parent_type = %s WHERE portfolio_node_id = %s",
            (book, claimed, other),
        )


def test_what_no_node_can_be_is_refused(book_dsn: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation, match="ck_portfolio_node_node_type"):
        add(book_dsn, "x", "POOL")
    with pytest.raises(psycopg2.errors.CheckViolation, match="ck_portfolio_node_name"):
        add(book_dsn, " ", "FUND")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="no node 4711"):
        add(book_dsn, "x", "DESK", 4711)
    fund = add(book_dsn, "fund", "FUND")
    add(book_dsn, "desk", "DESK", fund)
    with pytest.raises(psycopg2.errors.UniqueViolation, match="uq_portfolio_node_parent_id_name"):
        add(book_dsn, "desk", "BOOK", fund)
    with pytest.raises(psycopg2.errors.UniqueViolation, match="uq_portfolio_node_root_name"):
        add(book_dsn, "fund", "DESK")
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="fk_portfolio_node_parent_id_parent_type"):
        rows(book_dsn, "DELETE FROM book.portfolio_node WHERE portfolio_node_id = %s", (fund,))


# --- two at once

ISOLATION = {
    "read committed": psycopg2.extensions.ISOLATION_LEVEL_READ_COMMITTED,
    "repeatable read": psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ,
    "serializable": psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE,
}


@pytest.fixture(params=ISOLATION)
def race(request: pytest.FixtureRequest, book_dsn: str) -> Iterator[Race]:
    """Two transactions that know nothing of each other: one writes, the other writes, one commits, the other does if it can."""
    with closing(psycopg2.connect(book_dsn)) as first, closing(psycopg2.connect(book_dsn)) as second:

        def run(one: str, other: str) -> list[str]:
            for session in (first, second):
                session.set_session(isolation_level=ISOLATION[request.param])
                with session.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM book.portfolio_node")  # what was there before, both have seen
            with first.cursor() as cursor:
                cursor.execute(one)
            outcomes: list[str] = []
            thread = threading.Thread(target=lambda: outcomes.append(_written(second, other)))
            thread.start()
            assert eventually(lambda: not thread.is_alive() or _is_waiting(book_dsn, second))
            outcomes.insert(0, _committed(first))
            thread.join()
            return outcomes

        yield run


def _written(session: "psycopg2.extensions.connection", statement: str) -> str:
    try:
        with session.cursor() as cursor:
            cursor.execute(statement)
    except psycopg2.Error as error:
        session.rollback()
        return type(error).__name__
    return _committed(session)


def _committed(session: "psycopg2.extensions.connection") -> str:
    try:
        session.commit()
    except psycopg2.Error as error:
        return type(error).__name__
    return "committed"


def _is_waiting(dsn: str, session: "psycopg2.extensions.connection") -> bool:
    pid = session.info.backend_pid
    return rows(dsn, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (pid,)) == [("Lock",)]


def _parent(table: str, key: str, column: str, node: int, parent: int) -> str:
    return f"UPDATE book.{table} SET {column} = {parent} WHERE {key} = {node}"


def test_two_sessions_that_add_half_of_a_ring_each_make_none(book_dsn: str, race: Race) -> None:
    """One half alone is right already, if any; the other is against the levels."""
    desk, book = add(book_dsn, "desk", "DESK"), add(book_dsn, "book", "BOOK")
    outcomes = race(
        _parent("portfolio_node", "portfolio_node_id", "parent_id", book, desk),
        _parent("portfolio_node", "portfolio_node_id", "parent_id", desk, book),
    )
    assert outcomes == ["committed", "CheckViolation"]
    assert rings(book_dsn, "portfolio_node", "portfolio_node_id", "parent_id") == []


def test_a_child_is_not_added_while_its_parent_sinks_below_it(book_dsn: str, race: Race) -> None:
    """Each is right by itself: a STRATEGY below a BOOK, and a BOOK without children that becomes a STRATEGY."""
    book, strategy = add(book_dsn, "book", "BOOK"), add(book_dsn, "strategy", "STRATEGY")
    outcomes = race(
        _parent("portfolio_node", "portfolio_node_id", "parent_id", strategy, book),
        f"UPDATE book.portfolio_node SET node_type = 'STRATEGY' WHERE portfolio_node_id = {book}",
    )
    assert outcomes.count("committed") == 1, outcomes
    found = rows(
        book_dsn,
        "SELECT count(*) FROM book.portfolio_node n JOIN book.portfolio_node p ON p.portfolio_node_id = n.parent_id"
        " WHERE p.node_type = n.node_type OR p.node_type <> n.parent_type",
    )
    assert found == [(0,)]


def test_two_sessions_that_make_issuers_each_others_parents_make_no_ring(book_dsn: str, race: Race) -> None:
    """Here there are no levels: either half is right alone, and both together are not."""
    rows(book_dsn, "INSERT INTO book.reference_data (entity_type, name) VALUES ('ISSUER', 'A'), ('ISSUER', 'B')")
    outcomes = race(
        _parent("reference_data", "entity_id", "parent_entity_id", 1, 2),
        _parent("reference_data", "entity_id", "parent_entity_id", 2, 1),
    )
    assert outcomes.count("committed") == 1, outcomes
    assert rings(book_dsn, "reference_data", "entity_id", "parent_entity_id") == []


def test_a_longer_ring_of_three_halves_is_not_closed_either(book_dsn: str) -> None:
    rows(
        book_dsn,
        "INSERT INTO book.reference_data (entity_type, name, parent_entity_id)"
        " VALUES ('SECTOR', 'all', NULL), ('SECTOR', 'energy', 1), ('SECTOR', 'oil', 2)",
    )
    for node, parent in ((1, 1), (1, 2), (1, 3), (2, 3)):
        with pytest.raises(psycopg2.IntegrityError, match="is below it already"):
            rows(book_dsn, _parent("reference_data", "entity_id", "parent_entity_id", node, parent))


def rings(dsn: str, table: str, key: str, parent: str) -> list[tuple[int]]:
    """The rows that are above themselves."""
    return rows(
        dsn,
        f"WITH RECURSIVE up AS (SELECT {key} AS start, {parent} AS above FROM book.{table}"
        f" UNION SELECT up.start, t.{parent} FROM up JOIN book.{table} t ON t.{key} = up.above)"
        " SELECT start FROM up WHERE above = start",
    )
