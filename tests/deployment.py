"""The deployment files, read: the Dockerfile's instructions, what .dockerignore lets in, the unit, files of variables."""

import configparser
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from tests.live_process import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "portfolio-manager@.service"


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions with their arguments, in order."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    parts = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(name, rest) for name, rest in parts]


def instructions(name: str) -> list[str]:
    """The arguments of each instruction of this name."""
    return [rest for found, rest in dockerfile() if found == name]


def exec_form(name: str) -> list[str]:
    """The last such instruction as the words of a command."""
    words: list[str] = json.loads(instructions(name)[-1])
    return words


def health_check() -> list[str]:
    """The words of the command that asks how the container is."""
    words: list[str] = json.loads(instructions("HEALTHCHECK")[-1].partition(" CMD ")[2])
    return words


def copied_from_the_checkout() -> list[tuple[str, str]]:
    """What the image gets from the build's context: source and destination."""
    copies = [rest.split() for rest in instructions("COPY") if not rest.startswith("--from")]
    return [(source, words[-1]) for words in copies for source in words[:-1]]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out of the build: the last line that matches it, or a folder above it, decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and _matches(path, pattern.removeprefix("!")):
            ignored = not pattern.startswith("!")
    return ignored


def _matches(path: str, pattern: str) -> bool:
    parts = Path(path).parts
    if pattern.startswith("**/"):
        return any(fnmatch(part, pattern[3:]) for part in parts)
    return fnmatch("/".join(parts[: len(Path(pattern).parts)]), pattern)


def compose() -> dict[str, Any]:
    """compose.yaml, with its anchors put in place."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return loaded


def unit() -> configparser.ConfigParser:
    """The systemd unit; a key that is there twice is an error."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser


def variables_in(file: Path) -> dict[str, str]:
    """A file of variables as systemd and Docker read it: NAME=value, without quotes in our examples."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def seconds(duration: str) -> float:
    """A duration such as 15s or 500ms."""
    found = re.fullmatch(r"(\d+)(ms|s|m)?", duration)
    assert found is not None, duration
    return int(found[1]) * {"ms": 0.001, "s": 1, "m": 60, None: 1}[found[2]]
