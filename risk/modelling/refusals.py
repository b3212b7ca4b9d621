"""What sessions refuse, by name. Whatever is refused has changed nothing."""

from core.errors import Refused


class NoSuchSession(Refused):
    """there is no such session"""


class NoSuchSnapshot(Refused):
    """there is no such snapshot of a session"""


class SessionChanged(Refused):
    """somebody has changed the session since it was read"""


class BookBehind(Refused):
    """the engine holds what the book has not heard of yet"""


class NotYet(Refused):
    """a book is cloned as of a time that has come"""


class NodeNotThen(Refused):
    """the node was not there at that time"""


class NotToBeAdded(Refused):
    """what is not known of an instrument has to be said"""


class NothingToOrder(Refused):
    """a session that moves no position has no orders"""


class ContentDiffers(Refused):
    """what is kept is not what was kept: its hash is another one"""


class HangsNowhere(Refused):
    """a portfolio of the engine hangs on no node of the book"""
