"""The command line. Commands are imported when they are asked for, so that each starts fast."""

from importlib import import_module
from typing import Any

import click

from core.errors import PortfolioError
from live.cli.errors import sentence_of

_COMMANDS = {
    "init": "live.cli.init:init",
    "live": "live.cli.live:live",
    "migrate": "live.cli.database:migrate",
    "dsn": "live.cli.database:dsn",
    "doctor": "live.cli.doctor:doctor",
    "status": "live.cli.status:status",
    "watch": "live.cli.watch:watch",
    "positions": "live.cli.show:positions",
    "orders": "live.cli.show:orders",
    "proposals": "live.cli.proposals:proposals",
    "signals": "live.cli.show:signals",
    "journal": "live.cli.show:journal",
    "send": "live.cli.send:send",
    "replay": "live.cli.replay:replay",
    "verify": "live.cli.verify:verify",
    "backup": "live.cli.backup:backup",
    "restore": "live.cli.backup:restore",
    "close": "live.cli.operate:close",
    "close-all": "live.cli.operate:close_all",
    "capital": "live.cli.operate:capital",
    "approve": "live.cli.proposals:approve",
    "reject": "live.cli.proposals:reject",
    "halt": "live.cli.operate:halt",
    "resume": "live.cli.operate:resume",
    "handover": "live.cli.operate:handover",
    "resolve": "live.cli.operate:resolve",
    "reconcile": "live.cli.findings:reconcile",
    "adopt": "live.cli.findings:adopt",
    "write-off": "live.cli.findings:write_off",
    "ignore": "live.cli.findings:ignore",
    "rollover": "live.cli.rollover:rollover",
    "operators": "live.cli.operators:operators",
    "book": "live.cli.book:book",
    "risk": "live.cli.risk:risk",
    "completion": "live.cli.completion:completion",
    "notify": "live.cli.notify:notify",
}


class CommandGroup(click.Group):
    """Commands by their module's name, in the order of their first use; expected errors as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands' names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; of one that there is not, the nearest one is named."""
        if args[0] not in _COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], _COMMANDS, n=1):
                ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what was to be expected is said on stderr, exit code 1, and is no traceback."""
        try:
            return super().invoke(ctx)
        except PortfolioError as error:
            raise click.ClickException(sentence_of(error)) from error


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Run a systematic futures book: alerts in, positions kept, once.

    Exit codes: 0 done, 1 refused or failed (a sentence on stderr says what to do), 2 wrong usage.

    \b
    First steps, on this machine:
      python portfolio_manager.py init                  a configuration and secrets of your own, if you like
      python portfolio_manager.py live                  serve on http://127.0.0.1:5000
      python portfolio_manager.py doctor                is everything in order, and how to mend it
      python portfolio_manager.py send alert.json       post an alert to it
      python portfolio_manager.py positions             see what it holds
      python portfolio_manager.py watch                 see it live
    """
