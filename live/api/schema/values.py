"""The kinds of value that answers and bodies are made of."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypeAliasType

from core.models import MOST_LOTS

# Named, so that the document tells of each once.
DecimalText = TypeAliasType(
    "DecimalText",
    Annotated[
        Decimal,
        WithJsonSchema(
            {
                "type": "string",
                "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$",
                "description": "An exact number in fixed notation, without surplus zeros.",
                "examples": ["52000.5"],
            }
        ),
    ],
)
Time = TypeAliasType(
    "Time",
    Annotated[
        datetime,
        WithJsonSchema(
            {
                "type": "string",
                "format": "date-time",
                "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$",
                "description": "A time in UTC.",
                "examples": ["2026-01-14T06:15:00Z"],
            }
        ),
    ],
)
Day = Annotated[date, WithJsonSchema({"type": "string", "format": "date"})]
# Whatever was kept as JSON: it is told as it is.
Kept = dict[str, Any]
Figures = TypeAliasType(
    "Figures",
    Annotated[
        dict[str, str | int | bool | None], Field(description="By name what was reckoned with; decimals are strings.")
    ],
)
Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Lots = Annotated[int, Field(ge=0, le=MOST_LOTS)]


class Answered(BaseModel):
    """A part of an answer: it has these fields and no others."""

    model_config = ConfigDict(extra="forbid")
