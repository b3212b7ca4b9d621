"""What the book refuses, by name. The docstring of each is its code's meaning for who asked."""

from core.errors import Refused


class UnknownNode(Refused):
    """there is no such node"""


class UnknownPortfolio(Refused):
    """the engine has no such portfolio in this database"""


class NodeNotValid(Refused):
    """a node's name, type or currency is not one"""


class NodeExists(Refused):
    """there is a node of that name there already, and it is another one"""


class WrongLevel(Refused):
    """a node's parent is of a higher level: FUND, DESK, BOOK, STRATEGY"""


class MissingRate(Refused):
    """there is no rate between two currencies on or before a day"""


class RateNotValid(Refused):
    """a rate is above 0, between two currencies"""


class CurrencyNeeded(Refused):
    """roots are in different currencies: which one is meant has to be said"""


class PeriodNotValid(Refused):
    """a period begins before it ends, and is not too long"""


class NoDays(Refused):
    """nothing was marked on any of those days"""


class CapitalNeeded(Refused):
    """a return is of some money: how much has to be said"""


class LibraryMissing(Refused):
    """what reckons is an extra: `pip install -r requirements-book.txt`"""


class UnknownInstrument(Refused):
    """the master has no such instrument"""


class InstrumentNotValid(Refused):
    """something of an instrument is not what it has to be"""


class InstrumentExists(Refused):
    """there is an instrument of that symbol already, and it is another one"""


class UnknownEntity(Refused):
    """there is no such issuer, sector, geography or currency"""


class EntityNotValid(Refused):
    """something of an issuer, sector, geography or currency is not what it has to be"""


class EntityExists(Refused):
    """there is one of that type and name already, and it is another one"""
