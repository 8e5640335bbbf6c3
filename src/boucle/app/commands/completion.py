"""`boucle completion`"""

import os
from pathlib import Path
from typing import Annotated

import typer

from boucle.app.session import AsJson, session_of
from boucle.kernel.errors import InvalidInput


def completion(
    context: typer.Context,
    shell: Annotated[
        str | None, typer.Argument(metavar="[SHELL]", help="bash, zsh or fish; without it, what $SHELL names.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Write the script to your home and load it in new shells.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let the shell complete commands, options and values.

    Prints the script, or with --install puts it where new shells find it.

    \b
    Example:
      boucle completion --install
      source <(boucle completion bash)
    """
    from boucle.app.completion import SHELLS
    from boucle.app.console import console, print_json

    asked = shell or Path(os.environ.get("SHELL", "")).name
    if asked not in SHELLS:
        allowed = ", ".join(SHELLS)
        raise InvalidInput(f"{asked or 'no shell'!r} cannot be completed; allowed are {allowed}", hint=_hint(shell))
    script = (Path(__file__).parents[1] / "completions" / f"boucle.{asked}").read_text(encoding="utf-8")
    changed = _install(asked, script) if install else []
    if as_json:
        print_json({"shell": asked, "script": script, "changed": changed})
    elif install:
        for path in changed:
            console(session_of(context).color).print(f"wrote {path}")
        console(session_of(context).color).print(f"new shells complete `boucle`; this one after: exec {asked}")
    else:
        typer.echo(script, nl=False)


def _hint(shell: str | None) -> str:
    return "boucle completion bash" if shell else "name it: boucle completion bash"


def _install(shell: str, script: str) -> list[Path]:
    """Write the script, and load it in the shell's own start file if nothing there does yet; what was written."""
    from boucle.kernel.paths import translate, write_atomic

    home = Path.home()
    if shell == "fish":  # loads the file by its name
        path = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "boucle.fish"
        write_atomic(path, script.encode())
        return [path]
    path = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "boucle" / f"completion.{shell}"
    write_atomic(path, script.encode())
    start = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"
    line = f"[ -f '{path}' ] && . '{path}'"
    with translate(start):
        known = start.read_text(encoding="utf-8", errors="surrogateescape") if start.exists() else ""
        if line in known.splitlines():
            return [path]
        with start.open("a", encoding="utf-8") as file:
            file.write(f"{'' if not known or known.endswith(chr(10)) else chr(10)}{line}\n")
    return [path, start]
