"""`completion`: the lines that teach a shell the program's commands, options and names, by click's own mechanism."""

import os
import shlex
import sys
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_NAME = "portfolio-manager"
_SCRIPT = Path(__file__).resolve().parents[2] / "portfolio_manager.py"
# What click asks for by, of a program of that name.
_VARIABLE = "_PORTFOLIO_MANAGER_PY_COMPLETE"


class _OurProgram(ShellComplete):
    """click's script asks a program in PATH; ours is a Python and a file, and gets a function of its name."""

    def source(self) -> str:
        """As click's, with how the program is run."""
        return super().source().replace("@command@", shlex.join([sys.executable, str(_SCRIPT)]))


class _Bash(_OurProgram, BashComplete):
    source_template = '%(prog_name)s() { @command@ "$@"; }\n\n' + BashComplete.source_template.replace(
        "=bash_complete $1)", "=bash_complete @command@)"
    )


class _Zsh(_OurProgram, ZshComplete):
    source_template = (
        ZshComplete.source_template.replace("=zsh_complete %(prog_name)s)", "=zsh_complete @command@)").replace(
            "    (( ! $+commands[%(prog_name)s] )) && return 1\n", ""
        )
        + '\n%(prog_name)s() { @command@ "$@"; }\n'
    )


class _Fish(_OurProgram, FishComplete):
    source_template = "function %(prog_name)s; @command@ $argv; end;\n\n" + FishComplete.source_template.replace(
        "(commandline -t) %(prog_name)s)", "(commandline -t) @command@)"
    )


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


@click.command(short_help="Print what makes a shell complete commands, options and names.")
@click.argument("shell", type=click.Choice(list(_SHELLS)), required=False)
def completion(*, shell: str | None) -> None:
    """Print the lines for SHELL (yours, without one) that make it complete commands, options, portfolios and instruments.

    They also make `portfolio-manager` a short name of this program, in any folder. Put them where your shell looks at its start.

    \b
    Examples:
      python portfolio_manager.py completion bash >> ~/.bashrc
      python portfolio_manager.py completion zsh >> ~/.zshrc
      python portfolio_manager.py completion fish > ~/.config/fish/conf.d/portfolio-manager.fish
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in _SHELLS:
        raise click.UsageError(f"name a SHELL: {', '.join(_SHELLS)}")
    program = click.get_current_context().find_root().command
    click.echo(_SHELLS[shell](program, {}, _NAME, _VARIABLE).source())
