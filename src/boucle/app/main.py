"""The command line: arguments become calls, errors become sentences and exit codes."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Annotated

import typer

from boucle import __version__
from boucle.app import stopping
from boucle.app.commands import (
    alerts,
    audit,
    backup,
    check,
    compact,
    completion,
    compliance,
    doctor,
    drift,
    explain,
    export,
    fsck,
    gc,
    init,
    keys,
    labels,
    lineage,
    loop,
    models,
    monitor,
    package,
    pins,
    predict,
    profile,
    projects,
    replay,
    report,
    rollouts,
    run,
    schema,
    serve,
    settings,
    signing,
    slo,
    status,
    sync,
    up,
    users,
    webhooks,
)
from boucle.app.session import Session
from boucle.kernel.errors import BoucleError, InvalidInput, not_utf8

EXIT_CODES = {
    0: "done; of a server: stopped orderly, by Ctrl-C or a signal",
    1: "an error inside Boucle",
    2: "wrong input: an option, boucle.yaml, the data, or something that does not exist",
    3: "refused by a check, a gate or a policy",
    4: "stored bytes are damaged, or the audit log was changed",
    5: "something outside is missing: a port, disk space, a package",
    129: "stopped because the terminal was closed; what was finished is kept",
    130: "stopped by Ctrl-C before the end; what was finished is kept",
    141: "nobody reads the output any more",
    143: "stopped by SIGTERM",
}
"""The only codes that `boucle` ends with."""

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
_GLOBAL_FLAGS = ("--debug", "--version")
_GLOBAL_OPTIONS = ("--home", "--project", "--log-level", "--threads", "--color")
# Typer may bring its own Click, so the class of all usage errors is found through the one that it publishes.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="boucle",
    help="Close the loop: from a table to a governed, monitored model that is retrained when it decays.",
    epilog=_EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for verb in (init.init, check.check, run.run, serve.serve, up.up, replay.replay, status.status, report.report):
    app.command()(verb)
app.command()(signing.sign)
app.command()(signing.verify)
app.add_typer(models.app)
app.add_typer(audit.app)
app.add_typer(pins.app)
app.add_typer(users.app)
app.add_typer(keys.app)
app.add_typer(webhooks.app)
app.command()(rollouts.deploy)
app.command()(rollouts.rollback)
app.command()(rollouts.endpoints)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(fsck.fsck)
app.command()(gc.gc)
app.command()(schema.schema)
app.command()(settings.settings)
app.command()(completion.completion)
app.command()(lineage.lineage)
app.command()(predict.predict)
app.command()(profile.profile)
app.command()(drift.drift)
app.command()(package.package)
app.command()(projects.projects)
app.command()(compact.compact)
app.command()(labels.labels)
app.command()(slo.slo)
app.command()(export.export)
app.command()(compliance.compliance)
app.command()(monitor.monitor)
app.add_typer(alerts.app)
app.add_typer(loop.app)
app.command()(sync.sync)
app.command()(doctor.doctor)
app.command()(explain.explain)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"boucle {__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    context: typer.Context,
    project: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder with boucle.yaml; default: the nearest from here upwards.")
    ] = None,
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the store; default: .boucle beside boucle.yaml.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error; default: warning.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option(metavar="N", help="Cores to compute with; default: 0, which is all.")
    ] = None,
    color: Annotated[str | None, typer.Option(metavar="WHEN", help="auto, always or never; default: auto.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001 - read by run_command
    version: Annotated[  # noqa: ARG001 - acts in its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that every command has; they may also stand behind the command's name."""
    flags = {"home": home, "log_level": log_level, "threads": threads, "color": color}
    context.obj = Session(project=project, flags=flags)


def run_command(arguments: Sequence[str], heard: Callable[[BaseException], None] | None = None) -> int:
    """Run one command and return its exit code; with `--debug`, errors keep their traceback. `heard` gets the error
    that ends it, if one does."""
    given = hoist(arguments)
    debug, as_json = "--debug" in given, "--json" in given
    try:
        command = typer.main.get_command(_alone(_verb(given)))
        with command.make_context("boucle", given) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except (Exception, KeyboardInterrupt) as error:  # the edge to a person, who gets a sentence and never a traceback
        stopped = stopping.exit_code(error)
        if stopped is not None:
            stopping.say()
            return stopped
        if debug and not isinstance(error, (typer.Exit, _ClickError, BrokenPipeError)):
            raise
        named = _named(error, given)
        if heard is not None and not isinstance(named, typer.Exit):
            heard(named)
        return _ended(named, as_json=as_json)


def _verb(given: Sequence[str]) -> str:
    """The command's name among hoisted words; empty if there is none.

    >>> _verb(["--debug", "--home", "h", "serve", "model"])
    'serve'
    """
    words = iter(given)
    for word in words:
        if word in _GLOBAL_OPTIONS:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def _alone(name: str) -> typer.Typer:
    """The program with one plain command, which takes a tenth of the time to make; with all where none has the name."""
    named = [one for one in app.registered_commands if one.callback is not None and one.callback.__name__ == name]
    if not named:
        return app
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = named, []
    return alone


def _named(error: Exception | KeyboardInterrupt, given: Sequence[str]) -> Exception | KeyboardInterrupt:
    """A package that is not there by the extra that brings it, a word that is not UTF-8 and a number too large for a
    database as such; any other error as it is."""
    if isinstance(error, UnicodeEncodeError) and not all(map(_is_utf8, given)):
        return not_utf8(error)
    if isinstance(error, OverflowError) and "SQLite INTEGER" in str(error):
        return InvalidInput(f"a number is too large: whole numbers go up to {2**63 - 1}", hint="give a smaller one")
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not module or module == "boucle":
        return error
    from boucle.app.environment import not_installed

    return not_installed(module, given)


def _is_utf8(word: str) -> bool:
    try:
        return bool(word.encode()) or not word
    except UnicodeEncodeError:
        return False


def _ended(error: Exception | KeyboardInterrupt, *, as_json: bool) -> int:
    """What a command ends with that did not run through, once that is told."""
    match error:
        case typer.Exit():
            return error.exit_code
        case BoucleError():
            return _tell(error, error.code, error.exit_code, as_json=as_json)
        case _ClickError():
            return _tell_usage(error, as_json=as_json)
        case BrokenPipeError():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
    wrapped = BoucleError(
        f"an error inside Boucle: {type(error).__name__}: {error}",
        hint="give the same command with --debug and report what it prints",
    )
    return _tell(wrapped, wrapped.code, wrapped.exit_code, as_json=as_json)


def hoist(arguments: Sequence[str]) -> list[str]:
    """Put global options that stand behind the command's name before it.

    >>> hoist(["run", "--force", "--home", "h", "--debug"])
    ['--home', 'h', '--debug', 'run', '--force']

    `--version` before a number is a command's own, and means a model's.

    >>> hoist(["predict", "t.csv", "--version", "3", "--debug"])
    ['--debug', 'predict', 't.csv', '--version=3']
    """
    front: list[str] = []
    back: list[str] = []
    rest = iter(_with_numbers(arguments))
    for word in rest:
        if word == "--":
            back += [word, *rest]
        elif word in _GLOBAL_FLAGS or word.startswith(tuple(f"{option}=" for option in _GLOBAL_OPTIONS)):
            front.append(word)
        elif word in _GLOBAL_OPTIONS:
            front += [word, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            back.append(word)
    return front + back


def _with_numbers(arguments: Sequence[str]) -> Iterator[str]:
    """The words, `--version 3` as one: `--version=3`."""
    words = iter(zip(arguments, [*arguments[1:], ""], strict=False))
    for word, behind in words:
        if word == "--version" and behind.isdecimal():
            yield f"{word}={behind}"
            next(words)
        else:
            yield word


def _tell(error: BoucleError, code: str, exit_code: int, *, as_json: bool) -> int:
    from boucle.app.console import print_json, show_error

    if as_json:
        told = {"code": code, "message": error.message, "hint": error.hint, "details": error.details}
        print_json({"error": told})
    else:
        show_error(error, os.environ.get("BOUCLE_COLOR"), code=code)
    return exit_code


def _tell_usage(error: Exception, *, as_json: bool) -> int:
    """Click's own errors: a wrong option, a missing argument, or no argument at all, which shows the help."""
    words = error.format_message()  # type: ignore[attr-defined]  # every Click error has it
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(words)
        return 0
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "boucle"
    return _tell(BoucleError(words, hint=f"{command} --help"), "usage", 2, as_json=as_json)
