"""One request to OpenAlgo, and what is known of its effect afterwards."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from core.errors import Retryable
from live.brokers.port import BrokerRefused
from live.brokers.settings import OpenAlgoSettings
from live.secrets import is_loopback

_TOO_MANY = 429
_SERVER_ERROR = 500
_LONGEST_MESSAGE = 300
_JSON = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class NotDone(Retryable):
    """the request was not sent, or was turned away before anything was done: it had no effect"""


class NoAnswer(Retryable):
    """the request was sent, and no answer came that tells what became of it"""


class Answer(Struct, frozen=True, kw_only=True):
    """A success as it came, and its `data`."""

    body: dict[str, Any]
    data: Any


class Wire:
    """Sends requests to one server, each on a connection of its own. The API key is in the body and nowhere else."""

    def __init__(self, settings: OpenAlgoSettings) -> None:
        import httpx

        self._httpx = httpx
        self._url = settings.url
        self._key = settings.api_key.get_secret_value()
        connect = float(settings.connect_seconds)
        self._http = httpx.Client(
            base_url=settings.url,
            timeout=httpx.Timeout(float(settings.read_seconds), connect=connect, pool=connect),
            # A kept connection may be closed by the other side just as an order goes out on it, and then nobody knows.
            # On one of its own, what could not connect was not sent.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"Connection": "close"},
            # A proxy has no business between us and our own machine, and would see the key.
            trust_env=not is_loopback(urlsplit(settings.url).hostname or ""),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, endpoint: str, fields: Mapping[str, str]) -> Answer:
        """POST once. Raises NotDone, NoAnswer; BrokerRefused where the server says that it does not do it."""
        try:
            response = self._http.post(f"/api/v1/{endpoint}", json={"apikey": self._key, **fields})
        except (self._httpx.ConnectError, self._httpx.ConnectTimeout, self._httpx.PoolTimeout) as error:
            raise NotDone(f"{self._url} cannot be reached: {self._told(error)}") from None
        except self._httpx.TimeoutException as error:
            raise NoAnswer(f"{self._url} did not answer in time ({type(error).__name__})") from None
        except self._httpx.RequestError as error:
            raise NoAnswer(f"no usable answer came from {self._url}: {self._told(error)}") from None
        return self._answer(response.status_code, _object_in(response.content))

    def _answer(self, http_status: int, body: dict[str, Any] | None) -> Answer:
        message = self._told((body or {}).get("message") or f"HTTP {http_status}")
        if http_status == _TOO_MANY:
            raise NotDone(f"too many requests: {message}")
        if http_status >= _SERVER_ERROR:
            raise NoAnswer(f"the server failed with {http_status}: {message}")
        if body is None:
            raise NoAnswer(f"the server answered {http_status} and nothing that OpenAlgo would")
        succeeded = http_status < 300 and body.get("status") == "success"
        if succeeded:
            return Answer(body=body, data=body.get("data"))
        if body.get("status") == "error" or 400 <= http_status < _SERVER_ERROR:
            raise BrokerRefused(f"OpenAlgo: {message}")
        raise NoAnswer(f"the server answered {http_status} without a status that OpenAlgo gives")

    def _told(self, message: object) -> str:
        """A message that others wrote, without our key and not too long."""
        return str(message).replace(self._key, "***")[:_LONGEST_MESSAGE]


def _object_in(content: bytes) -> dict[str, Any] | None:
    try:
        return _JSON.decode(content)
    except (msgspec.MsgspecError, ArithmeticError):
        return None
