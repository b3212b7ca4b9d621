"""Commands run in this process, against an engine that answers as a test tells it."""

import json
from functools import partial
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner, Result

import live.client
from live.cli import main


class FakeEngine:
    """A running engine: answers each path as told, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | type[httpx.TransportError]) -> None:
        self._answers = list(answers) or [httpx.Response(200, json={"status": "executed", "journal_seq": 7})]
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content)
        raise answer("", request=request)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


def answer(status: str = "executed", **fields: Any) -> httpx.Response:
    """What the engine decided."""
    return httpx.Response(200, json={"status": status, "journal_seq": 7, **fields})


def refusal(status: int, message: str) -> httpx.Response:
    """What the engine does not take."""
    return httpx.Response(status, json={"error": {"code": "malformed", "message": message, "field": "price"}})


def served_by(monkeypatch: pytest.MonkeyPatch, fake: FakeEngine) -> FakeEngine:
    """Let every command talk to `fake`, with no settings of the developer's own and without pauses."""
    monkeypatch.delenv("PORTFOLIO_OPERATOR_TOKEN", raising=False)
    monkeypatch.delenv("PORTFOLIO_WEBHOOK_SECRET", raising=False)
    client = partial(live.client.EngineClient, transport=httpx.MockTransport(fake), pause=lambda _: None)
    monkeypatch.setattr(live.client, "EngineClient", client)
    return fake


def leaf_commands() -> dict[str, click.Command]:
    """Every command by its name, in a group's with the group's before it."""
    found: dict[str, click.Command] = {}
    for name in main.list_commands(click.Context(main)):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        found |= _leaves(name, command)
    return found


def _leaves(name: str, command: click.Command) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {name: command}
    found: dict[str, click.Command] = {}
    for own, each in command.commands.items():
        found |= _leaves(f"{name} {own}", each)
    return found


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    """What a command prints and answers, its stdin `given`."""
    return CliRunner().invoke(main, arguments, input=given, prog_name="portfolio_manager.py")
