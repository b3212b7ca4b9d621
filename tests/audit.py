"""`make audit`: what is known against the pinned packages. Run as `python -m tests.audit PIP_AUDIT`.

pip-audit says `No known vulnerabilities found` where its service knew none of the packages. Here that is good only if every
package was looked up. Exit code: 0 nothing is known, 1 something is, 2 that cannot be told.
"""

import json
import subprocess
import sys

REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "requirements-ha.txt")
CLEAN, VULNERABLE, NOT_TOLD = 0, 1, 2


def main(program: str) -> int:
    """Ask, say what came of it, and return the exit code."""
    files = [word for name in REQUIREMENTS for word in ("--requirement", name)]
    command = [program, "--format", "json", "--progress-spinner", "off", "--no-deps", "--disable-pip", *files]
    asked = subprocess.run(command, capture_output=True, text=True)
    code, sentences = verdict(asked.stdout)
    if not asked.stdout and asked.stderr:
        sentences.append(f"pip-audit's last words: {asked.stderr.strip().splitlines()[-1]}")
    for sentence in sentences:
        sys.stdout.write(f"audit: {sentence}\n")
    return code


def verdict(report: str) -> tuple[int, list[str]]:
    """The exit code, and what to say, of pip-audit's report as JSON; what is none is of one that ended in an error."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return NOT_TOLD, ["the service that knows vulnerabilities could not be asked: nothing was looked up"]
    known = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        told = f"{len(skipped)} of {len(packages)} packages were not found by the service that knows vulnerabilities"
        return (VULNERABLE if known else NOT_TOLD), [*known, f"{told}: {', '.join(skipped[:5])}, ..."]
    return (VULNERABLE, known) if known else (CLEAN, [f"nothing is known against any of {len(packages)} packages"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
