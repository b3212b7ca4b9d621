"""A replay's outcome as JSON, as CSV and as tables for the terminal; files appear whole or not at all."""

import csv
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from live.cli.output import Column, jsonable, money, number, printable
from live.replay.model import OpenTrade, ReplayResult, Trade
from live.replay.summary import Group, Summary
from live.replay.wording import duration, opt_money, percent, ratio

if TYPE_CHECKING:
    from rich.table import Table
