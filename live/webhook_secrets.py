"""Who may send an alert: a secret in the body, in the address, or one that signs the request. Compared in constant time."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from core.errors import ConfigurationError, Refused
from live.secret_files import secret_from

if TYPE_CHECKING:
    from core.config import FileSettings, SecretPlace

LEAST_CHARACTERS = 8
# As WSGI has them, without HTTP_.
SIGNATURE, SIGNED_AT = "X_SIGNATURE", "X_TIMESTAMP"
_STRUCK = b"***"
_SCHEME = "sha256="
_SECONDS = re.compile(r"\d{1,12}", re.ASCII)
# What needs no escape in an address.
_IN_A_PATH = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)


class SenderRefused(Refused):
    """the sender does not show that he may send; `field` says what of the request is missing or wrong"""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSecrets:
    """A portfolio's secret, where it is taken, and the one before it for as long as that is still taken.

    `clock` gives aware UTC; a signature is of a time at most `signature_seconds` from it.
    """

    clock: Callable[[], datetime]
    current: str = field(repr=False)
    places: "tuple[SecretPlace, ...]" = ("body",)
    previous: str | None = field(default=None, repr=False)
    previous_until: datetime | None = None
    signature_seconds: Decimal = Decimal(300)

    @classmethod
    def of(cls, settings: "FileSettings", clock: Callable[[], datetime]) -> Self | None:
        """What is configured, files read; None where alerts need no secret. Raises ConfigurationError."""
        current = _configured("webhook_secret", settings.webhook_secret, settings)
        if current is None:
            return None
        previous = _configured("webhook_secret_previous", settings.webhook_secret_previous, settings)
        if "path" in settings.webhook_secret_in:
            _require_fit_for_a_path(current, previous)
        return cls(
            clock=clock,
            current=current,
            places=settings.webhook_secret_in,
            previous=previous,
            previous_until=settings.webhook_secret_previous_until,
            signature_seconds=settings.webhook_signature_seconds,
        )

    @property
    def known(self) -> tuple[str, ...]:
        """What no answer and no line of the log may show."""
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def accepts_before_the_body(self, headers: Mapping[str, str], token: str | None, body: bytes) -> bool:
        """Whether address or headers already say that the sender may; False: the body's secret has to. Raises SenderRefused."""
        signature = headers.get(SIGNATURE)
        if "signature" in self.places and signature is not None:
            self._require_signature(signature, headers.get(SIGNED_AT, ""), body)
            return True
        if token is not None:
            if "path" not in self.places or not self._is_one(token):
                raise SenderRefused("the secret in the address is wrong, or not taken there", "secret")
            return True
        if "body" in self.places:
            return False
        raise SenderRefused(_WHERE[self.places[0]], "secret")

    def require_in_body(self, secret: str | None, name: str) -> None:
        """SenderRefused unless the body's secret, which its sender calls so, is right."""
        if not self._is_one(secret or ""):
            raise SenderRefused(f"`{name}` {'is required' if secret is None else 'is wrong'}", name)

    def struck_from(self, body: bytes, *, in_body: bool) -> bytes:
        """The body without the secret wherever else it stands: what is kept of an alert would hold it. `in_body`: that is where
        it was looked for. The same body where it stands nowhere else."""
        written = _as_written(self.known)
        if sum(map(body.count, written)) <= in_body:
            return body
        for secret in written:
            body = body.replace(secret, _STRUCK)
        return body

    def _require_signature(self, given: str, signed_at: str, body: bytes) -> None:
        if not _SECONDS.fullmatch(signed_at):
            raise SenderRefused("`X-Timestamp` must be seconds since 1970, and is signed with the body", "X-Timestamp")
        if abs(Decimal(signed_at) - Decimal(self.clock().timestamp())) > self.signature_seconds:
            raise SenderRefused(f"`X-Timestamp` is more than {self.signature_seconds:f} s from now", "X-Timestamp")
        text = signed_at.encode() + b"." + body
        if not self._matches(lambda secret: signature_of(secret, text), given.strip().lower()):
            raise SenderRefused("`X-Signature` is wrong", "X-Signature")

    def _is_one(self, given: str) -> bool:
        return self._matches(lambda secret: secret, given)

    def _matches(self, expected: Callable[[str], str], given: str) -> bool:
        """Whether it is what the secret, or the one before it, leads to; both are always looked at."""
        taken = self.previous is not None and self.previous_until is not None and self.clock() < self.previous_until
        before = self.previous if taken and self.previous is not None else self.current
        # On bytes: compare_digest refuses text that is not ASCII.
        told = given.encode(errors="surrogatepass")
        now = hmac.compare_digest(expected(self.current).encode(), told)
        return hmac.compare_digest(expected(before).encode(), told) | now


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a sender of our own shows: the secret, in the first of the places where it is taken."""

    place: "SecretPlace"
    secret: str = field(repr=False)
    clock: Callable[[], datetime]

    @classmethod
    def of(cls, secret: str, places: "Collection[SecretPlace]", clock: Callable[[], datetime]) -> Self:
        """In the body if it may be there, else signed, else in the address."""
        place: SecretPlace = next(place for place in _PREFERRED if place in places)
        return cls(place=place, secret=secret, clock=clock)

    def below(self) -> str:
        """What follows the portfolio's address."""
        return f"/{self.secret}" if self.place == "path" else ""

    def headers(self, body: bytes) -> dict[str, str]:
        """What signs the body."""
        if self.place != "signature":
            return {}
        signed_at = str(int(self.clock().timestamp()))
        signature = signature_of(self.secret, signed_at.encode() + b"." + body)
        return {"X-Timestamp": signed_at, "X-Signature": signature}


@lru_cache(maxsize=64)
def _as_written(secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    """How these may stand in a body, plain and as JSON escapes them; the longest first, for one may hold another."""
    forms = {form for secret in secrets for form in (secret.encode(), json.dumps(secret)[1:-1].encode())}
    return tuple(sorted(forms, key=len, reverse=True))


_PREFERRED: "tuple[SecretPlace, ...]" = ("body", "signature", "path")
_WHERE: "Mapping[SecretPlace, str]" = {
    "path": "the secret is required in the address",
    "signature": "`X-Signature` is required",
    "body": "`secret` is required",
}


def signature_of(secret: str, text: bytes) -> str:
    """What `X-Signature` has to be for `text`: the seconds of `X-Timestamp`, a point, and the body's bytes."""
    return _SCHEME + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _configured(name: str, value: str | None, settings: "FileSettings") -> str | None:
    file = getattr(settings, f"{name}_file")
    return value if file is None else secret_from(file, f"{name}_file", LEAST_CHARACTERS)


def _require_fit_for_a_path(*secrets: str | None) -> None:
    if any(secret is not None and not _IN_A_PATH.fullmatch(secret) for secret in secrets):
        raise ConfigurationError(
            "`webhook_secret_in`: a secret in the address has letters, digits and `._~-` only: give another `webhook_secret`"
        )
