"""What is done with tags: made, retired, put on nodes and positions, and taken off again."""

import re
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from book.hierarchy import PortfolioNode, Position
from book.portfolio_management import PortfolioPosition
from core.errors import Refused
from risk.tags import TAG_TYPES, PortfolioTag, PositionTag, Tag, Tagging, named

_NAME_LENGTH, _BY_LENGTH, _TEXT_LENGTH = 50, 100, 2000
_TARGET = re.compile(r"(node|position|holding)/([1-9][0-9]{0,17})", re.ASCII)
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.ASCII)


class TagNotValid(Refused):
    """something of a tag is not what it has to be"""


class UnknownTag(Refused):
    """there is no such tag"""


class TagRetired(Refused):
    """a retired tag is put on nothing"""


class NothingToTag(Refused):
    """there is no such node or position"""


class _Lock(Enum):
    """Until the transaction's end: others may read the tag so too, or nobody."""

    SHARE = 1
    ALONE = 2


class On(Struct, frozen=True, kw_only=True):
    """What a tag is put on: a `node`, `position` (of the book's portfolio_positions) or `holding`, and its number."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.number}"


def target(told: str) -> On:
    """`node/1`, `position/12` or `holding/5`. Raises NothingToTag."""
    found = _TARGET.fullmatch(told)
    if found is None:
        raise NothingToTag(f"{told[:50]!r} is not like node/1, position/12 or holding/5")
    return On(kind=found[1], number=int(found[2]))


def is_target(told: str) -> bool:
    """Whether that names something that tags are put on; no tag is called so."""
    return _TARGET.fullmatch(told) is not None


# --- tags themselves


def create_tag(
    session: Session, name: str, tag_type: str, *, by: str, colour: str | None = None, description: str | None = None
) -> tuple[Tag, bool]:
    """The tag, and whether anything changed: made, taken back into use where it was retired, or described as told.

    What it was on when it was retired it is not on again. None leaves colour and description as they are. Raises TagNotValid.
    """
    name, by, tag_type = _name(name), _by(by), _type(tag_type)
    told = {"colour": _colour(colour), "description": _description(description)}
    new = {"name": name, "tag_type": tag_type, "created_by": by}
    given = {field: value for field, value in told.items() if value is not None}
    made = insert(Tag).values({**new, **given}).on_conflict_do_nothing().returning(Tag.tag_id)
    is_new = session.scalar(made) is not None
    tag = _tag(session, name, tag_type, lock=_Lock.ALONE)
    changes: dict[str, str | None] = {field: value for field, value in given.items() if getattr(tag, field) != value}
    if tag.retired_at is not None:
        changes |= {"retired_at": None, "retired_by": None}
    for field, value in changes.items():
        setattr(tag, field, value)
    session.flush()
    return tag, is_new or bool(changes)


def retire_tag(session: Session, name: str, tag_type: str, *, by: str, now: datetime) -> tuple[Tag, int | None]:
    """The tag, which is taken off all that it is on at an aware instant and put on nothing any more; off how many that was, None
    where it was retired before. Raises UnknownTag, TagNotValid."""
    by, tag = _by(by), _tag(session, name, _type(tag_type), lock=_Lock.ALONE)
    if tag.retired_at is not None:
        return tag, None
    # Not before it was put on: a clock may go back.
    off = sum(len(session.execute(_off(model, by, now).where(model.tag_id == tag.tag_id)).all()) for model in _MODELS)
    tag.retired_at, tag.retired_by = now, by
    session.flush()
    return tag, off


def tags(session: Session, *, retired: bool = False, tag_type: str | None = None) -> list[dict[str, Any]]:
    """Tags in the order of their types and names, and on how many nodes and positions each is now."""
    counts = [
        select(func.count())
        .where(model.tag_id == Tag.tag_id, model.removed_at.is_(None))
        .scalar_subquery()
        .label(f"{name}s")
        for name, model in (("node", PortfolioTag), ("position", PositionTag))
    ]
    asked = select(*Tag.__table__.columns, *counts).order_by(Tag.tag_type, func.lower(Tag.name))
    if not retired:
        asked = asked.where(Tag.retired_at.is_(None))
    if tag_type is not None:
        asked = asked.where(Tag.tag_type == _type(tag_type))
    return [dict(row) for row in session.execute(asked).mappings()]


def history_of(session: Session, name: str, tag_type: str) -> dict[str, Any]:
    """A tag, and all that it is or was on, the first one first. Raises UnknownTag."""
    tag = _tag(session, name, _type(tag_type))
    found: list[dict[str, Any]] = []
    for model in _MODELS:
        own: Iterable[Tagging] = session.scalars(select(model).where(model.tag_id == tag.tag_id))
        found += [{"on": named(row), **{field: getattr(row, field) for field in _WHEN}} for row in own]
    found.sort(key=lambda each: (each["added_at"], each["on"]))
    return {**{column.name: getattr(tag, column.name) for column in Tag.__table__.columns}, "on": found}


# --- what they are on


def add_tag(session: Session, name: str, tag_type: str, on: On, *, by: str, now: datetime) -> bool:
    """Put a tag on a node, with all below it, or a position, at an aware instant; False where it is on it already.

    Raises UnknownTag, TagRetired, NothingToTag, TagNotValid.
    """
    by, tag = _by(by), _tag(session, name, _type(tag_type), lock=_Lock.SHARE)
    if tag.retired_at is not None:
        raise TagRetired(
            f"{tag.tag_type} tag {tag.name} was retired on {tag.retired_at:%Y-%m-%d}; `create` takes it back"
        )
    _require_there(session, on)
    model, values = _where(on)
    new = insert(model).values(tag_id=tag.tag_id, **values, added_by=by, added_at=now)
    return session.scalar(new.on_conflict_do_nothing().returning(model.id)) is not None


def remove_tag(session: Session, name: str, tag_type: str, on: On, *, by: str, now: datetime) -> bool:
    """Take a tag off at an aware instant; of days before it is told still. False where it is not on it.

    Raises UnknownTag, TagNotValid.
    """
    by, tag = _by(by), _tag(session, name, _type(tag_type))
    model, values = _where(on)
    own = [getattr(model, field) == value for field, value in values.items()]
    return bool(session.execute(_off(model, by, now).where(model.tag_id == tag.tag_id, *own)).all())


# --- rows

_MODELS: tuple[type[Tagging], ...] = (PortfolioTag, PositionTag)
_WHEN = ("added_by", "added_at", "removed_by", "removed_at")


def _where(on: On) -> tuple[type[Tagging], dict[str, Any]]:
    return (
        (PortfolioTag, {"portfolio_node_id": on.number}) if on.kind == "node" else (PositionTag, {"position": str(on)})
    )


def _off(model: type[Tagging], by: str, now: datetime) -> Any:
    moment = func.greatest(now, model.added_at)
    return update(model).where(model.removed_at.is_(None)).values(removed_by=by, removed_at=moment).returning(model.id)


def _tag(session: Session, name: str, tag_type: str, *, lock: _Lock | None = None) -> Tag:
    asked = select(Tag).where(Tag.tag_type == tag_type, func.lower(Tag.name) == func.lower(name.strip()))
    if lock is not None:
        asked = asked.with_for_update(read=lock is _Lock.SHARE)
    found = session.scalar(asked.execution_options(populate_existing=True))
    if found is None:
        others = select(Tag.tag_type).where(func.lower(Tag.name) == func.lower(name.strip()))
        other = session.scalar(others)
        hint = f"there is a {other} one" if other else "`risk tag create` makes one"
        raise UnknownTag(f"there is no {tag_type} tag {name.strip()[:_NAME_LENGTH]!r}: {hint}")
    return found


def _require_there(session: Session, on: On) -> None:
    """Nobody removes it before the transaction's end."""
    key: Any
    others: Iterable[ColumnElement[bool]] = ()
    if on.kind == "node":
        key = PortfolioNode.portfolio_node_id
    elif on.kind == "position":
        key = PortfolioPosition.id
    else:
        key, others = Position.position_id, (Position.status != "DELETED",)
    asked = select(key).where(key == on.number, *others).with_for_update(key_share=True, read=True)
    if session.scalar(asked) is None:
        raise NothingToTag(f"there is no {on}")


# --- what may be told


def _name(given: str) -> str:
    name = given.strip()
    if not name or len(name) > _NAME_LENGTH or not name.isprintable() or is_target(name):
        raise TagNotValid(
            f"`name`: {given[:60]!r} must be 1 to {_NAME_LENGTH} printable characters, and not like node/1"
        )
    return name


def _type(given: str) -> str:
    if given not in TAG_TYPES:
        raise TagNotValid(f"`type`: {given[:20]!r} is neither {' nor '.join(TAG_TYPES)}")
    return given


def _by(given: str) -> str:
    by = given.strip()
    if not by or len(by) > _BY_LENGTH or not by.isprintable():
        raise TagNotValid(f"`by` must be 1 to {_BY_LENGTH} printable characters")
    return by


def _colour(given: str | None) -> str | None:
    if given is not None and not _COLOUR.fullmatch(given.lower()):
        raise TagNotValid(f"`colour`: {given[:20]!r} is not like #0a7f3c")
    return None if given is None else given.lower()


def _description(given: str | None) -> str | None:
    if given is not None and (len(given) > _TEXT_LENGTH or "\0" in given):
        raise TagNotValid(f"`description` must be up to {_TEXT_LENGTH} characters, without NUL")
    return given
