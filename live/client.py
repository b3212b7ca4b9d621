"""The HTTP API of a running engine, as its commands use it: bounded in time, repeated only where a repeat is safe."""

from collections.abc import Callable, Mapping
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import msgspec
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from core.errors import Refused, Retryable
from live.webhook_secrets import Credential

ATTEMPTS = 8
LONGEST_WAIT_SECONDS = 2.0
# The engine answers within 2 s; what takes longer is lost, and is asked again.
ANSWER_SECONDS = 2.0
LOST_SECONDS = 5.0
CONNECT_SECONDS = 2.0
NO_HEADERS: Mapping[str, str] = {}
_BUSY = (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS)


class EngineAway(Retryable):
    """the engine does not answer, or keeps nothing now; `http_status` None where nothing came back"""

    def __init__(self, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status


class NothingListens(EngineAway):
    """Every try was refused before anything was sent: nothing was done."""


class EngineRefused(Refused):
    """the engine does not take the request; `code` and `field` are its own, `http_status` the answer's"""

    def __init__(self, message: str, *, http_status: int, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.field = field


class _TryAgain(Exception):
    """Nothing was kept, or that is not known: a repeat is safe."""

    def __init__(self, message: str, http_status: int | None) -> None:
        super().__init__(message)
        self.http_status = http_status


class EngineClient:
    """One engine at `url`. What changes something is tried again, the same to the byte, while the engine is away or busy.

    That is safe because a signal is known by its fingerprint and a command by its `request_id`: a repeat is answered
    with the first outcome. `within` bounds a call in seconds, all its tries together. Raises EngineAway where it stays so,
    EngineRefused for a 4xx.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        attempts: int = ATTEMPTS,
        within: float = float("inf"),
        pause: Callable[[float], None] = sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._attempts = attempts
        self._within = within
        self._pause = pause
        self._never_connected = True
        self._http = httpx.Client(
            base_url=url,
            transport=transport,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            # A proxy has no business between us and our own machine, and would see the token.
            trust_env=not _is_loopback(url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def command(self, path: str, fields: dict[str, Any], *, portfolio: str) -> dict[str, Any]:
        """POST an operator's command; `fields` has to hold its `request_id`. The engine's answer."""
        body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
        return self._post(path, body, {"portfolio": portfolio})

    def send(self, body: bytes, *, portfolio: str, credential: Credential | None = None) -> dict[str, Any]:
        """POST an alert's own bytes. The engine's answer, with its `http_status`."""
        below = "" if credential is None else credential.below()
        headers = {} if credential is None else credential.headers(body)
        return self._post(f"/webhook/{portfolio}{below}", body, {}, headers)

    def read(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """GET, tried once: who looks every second looks again. Raises as the others do."""
        try:
            response = self._http.get(
                path, params=parameters, timeout=httpx.Timeout(LOST_SECONDS, connect=CONNECT_SECONDS)
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NothingListens(f"nothing listens at {self.url}; start `live`, or give --url") from error
        except httpx.TransportError as error:
            raise EngineAway(f"no answer from {self.url}: {_reason(error)}") from error
        try:
            answer = self._read(response)
        except _TryAgain as error:
            raise EngineAway(str(error), http_status=error.http_status) from error
        return {name: value for name, value in answer.items() if name != "http_status"}

    def _post(
        self, path: str, body: bytes, parameters: dict[str, str], headers: Mapping[str, str] = NO_HEADERS
    ) -> dict[str, Any]:
        give_up_at = monotonic() + self._within
        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgain),
            # A try that could not hear the engine out is not begun.
            stop=stop_after_attempt(self._attempts) | stop_before_delay(self._within - ANSWER_SECONDS),
            wait=wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_SECONDS),
            sleep=self._pause,
        )
        try:
            return retrying(self._post_once, path, body, parameters, headers, give_up_at)
        except RetryError as error:
            last = error.last_attempt.exception()
            if self._never_connected:
                raise NothingListens(
                    f"nothing was done: nothing listens at {self.url}; start `live`, or give --url"
                ) from last
            http_status = last.http_status if isinstance(last, _TryAgain) else None
            tries = error.last_attempt.attempt_number
            told = f"{last} ({tries} tries)" if tries > 1 else str(last)
            raise EngineAway(told, http_status=http_status) from last

    def _post_once(
        self, path: str, body: bytes, parameters: dict[str, str], headers: Mapping[str, str], give_up_at: float
    ) -> dict[str, Any]:
        left = give_up_at - monotonic()
        try:
            response = self._http.post(
                path,
                content=body,
                params=parameters,
                headers={"Content-Type": "application/json", **headers},
                timeout=httpx.Timeout(min(LOST_SECONDS, left), connect=min(CONNECT_SECONDS, left)),
            )
        except httpx.TransportError as error:
            self._never_connected &= isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise _TryAgain(f"no answer from {self.url}: {_reason(error)}", None) from error
        self._never_connected = False
        return self._read(response)

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        answer = _object_of(response)
        if response.is_success and answer is not None:
            return {**answer, "http_status": response.status_code}
        if answer is None and not response.is_server_error:
            raise EngineRefused(
                f"{self.url} answers {response.status_code} and not as our engine would: check --url",
                http_status=response.status_code,
            )
        told = (answer or {}).get("error")
        found = told if isinstance(told, dict) else {}
        message = str(found.get("message") or (answer or {}).get("message") or response.reason_phrase)
        if response.status_code in _BUSY or response.is_server_error:
            raise _TryAgain(f"{self.url} answers {response.status_code}: {message}", response.status_code)
        raise EngineRefused(message, http_status=response.status_code, code=found.get("code"), field=found.get("field"))


def _object_of(response: httpx.Response) -> dict[str, Any] | None:
    """The JSON object of an answer; None where it is something else (a proxy's page, another server)."""
    try:
        return msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "nothing listens there"
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return str(error) or "the connection was lost"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host == "::1" or host.startswith("127.")
