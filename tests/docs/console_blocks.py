"""Runs the `console` blocks of a page as a reader would, and compares what comes out with what the page shows.

A block holds commands behind `$ `, each followed by its output; `> ` goes on with a command of several lines. All
blocks of a page run in order in one folder. What a page may do beside that:

- `...` in a line of output stands for any text, and alone in a line for any lines.
- "Save this as `NAME`:" writes the block below it into a file.
- A command that ends in `&` is a server: it runs until the page gives `kill %1`, or ends.
- A page that says "in the project that [another page](other.md) leaves behind" begins where that page ended; one that
  says "in a copy of the folder `NAME`" begins in one.
- "*Not run by the tests: ...*" above a block says why it is not run.

Not compared are digests, ids, moments, powers of ten, and numbers with one digit behind the point (seconds, gigabytes).
Longer decimals may differ by 5 % or by 0.02. What comes on standard error shows only where a command fails, and from
its line `error:` or `Traceback` on, because progress goes there, too. Port 8080 is another one in truth.

`python tests/docs/console_blocks.py PAGE...` runs pages and writes what came out into them, unless `...` stands there.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NOT_RUN = "*Not run by the tests:"
BASE = re.compile(r"in the project that\s+\[[^\]]+\]\(([^)]+)\)\s+leaves\s+behind", re.IGNORECASE)
FOLDER = re.compile(r"in a copy of the folder `([\w/-]+)`")
PORT = "8080"
_SAVE = re.compile(r"[Ss]ave this as `([\w./-]+)`:$")
_TIMEOUT_S = 3600
_ROOT = Path(__file__).parents[2]


@dataclass
class Command:
    """A command of a page, with the line it stands in, and the output that the page shows."""

    line: int
    words: str
    shown: list[str] = field(default_factory=list)

    @property
    def in_background(self) -> bool:
        return self.words.endswith("&")


@dataclass
class File:
    """A file that a page asks its reader to save."""

    name: str
    text: str


@dataclass
class Difference:
    """A command whose output is not what the page shows."""

    page: Path
    command: Command
    came: list[str]

    def __str__(self) -> str:
        shown, came = "\n".join(self.command.shown), "\n".join(self.came)
        return f"{self.page.name}:{self.command.line}: $ {self.command.words}\n--- shown\n{shown}\n--- came\n{came}\n"


def fences(text: str) -> Iterator[tuple[str, str, int, list[str]]]:
    """The fenced blocks of a page: language, the last paragraph above, number of the first line, lines."""
    above, going_on, language, first, block = "", False, None, 0, []
    for number, line in enumerate(text.splitlines(), start=1):
        if language is None and line.startswith("```"):
            language, first, block = line.strip("`"), number + 1, []
        elif language is None and line.strip():
            above = f"{above} {line.strip()}".strip() if going_on else line.strip()
            going_on = True
        elif language is None:
            going_on = False
        elif line.startswith("```"):
            yield language, above, first, block
            language, above, going_on = None, "", False
        else:
            block.append(line)


def steps(page: Path) -> list[Command | File]:
    """What a page has to run or write, in order."""
    found: list[Command | File] = []
    for language, above, first, block in fences(page.read_text(encoding="utf-8")):
        if saved := _SAVE.search(above):
            found.append(File(saved[1], "".join(f"{line}\n" for line in block)))
        elif language == "console" and not above.startswith(NOT_RUN):
            found += commands(first, block)
    return found


def commands(first: int, block: Sequence[str]) -> list[Command]:
    """The commands of one block that begins in line `first` of its page."""
    found: list[Command] = []
    for number, line in enumerate(block, start=first):
        if line.startswith("$ "):
            found.append(Command(number, line[2:]))
        elif line.startswith("> ") and not found[-1].shown:
            found[-1].words += f"\n{line[2:]}"
        else:
            found[-1].shown.append(line)
    return found


def base(page: Path) -> Path | None:
    """The page in whose folder this one begins."""
    named = BASE.search(page.read_text(encoding="utf-8"))
    return (page.parent / named[1]).resolve() if named else None


# --- comparing -------------------------------------------------------------------------------------------------------

_CHANGES = [
    (re.compile(r"\b[0-9a-f]{64}\b|\b(?=[0-9]*[a-f])[0-9a-f]{12}\b|\b[0-9]{12}\b"), "<digest>"),
    (re.compile(r"\b([a-z]+)_[0-9a-z]{26}\b"), r"<\1>"),
    (re.compile(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?"), "<moment>"),
    (re.compile(r"-?\b\d+(\.\d+)?e[-+]?\d+"), "<power>"),
    (re.compile(r"(?<![\w.])\d+\.\d(?![\w.]*\d)"), "<tenths>"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"[ \t]+"), " "),
]
_DECIMAL = re.compile(r"(?<![\w.])(\d[\d,]*\.\d{2,})(?![\w.]*\d)")


def plain(lines: Sequence[str]) -> str:
    """Lines without what differs from one time to the next."""
    text = "\n".join(line.strip() for line in lines).strip("\n")
    for pattern, instead in _CHANGES:
        text = pattern.sub(instead, text)
    return text


def agree(shown: Sequence[str], came: Sequence[str]) -> bool:
    """Whether output is what a page shows.

    >>> agree(["version 1 is bundle 3d3e2f472cec", "auc 0.8123"], ["version 1 is bundle 0d3e2f472c00", "auc 0.8200"])
    True
    >>> agree(["auc 0.81 of ...", "..."], ["auc 0.71 of 12 rows"]), agree(["1 row"], ["2 rows"])
    (False, False)
    """
    pattern = ""
    for part in re.split(r"(^\.\.\.$\n?|\.\.\.|\d[\d,]*\.\d{2,}(?![\w.]*\d))", plain(shown), flags=re.MULTILINE):
        if part == "...\n":
            pattern += r"(?:.*\n)*?"
        elif part == "...":
            pattern += r"(?:.|\n)*?" if pattern.endswith("\n") or not pattern else r".*?"
        elif _DECIMAL.fullmatch(part):
            pattern += r"(\d[\d,]*\.\d+)"
        else:
            pattern += re.escape(part)
    found = re.fullmatch(pattern, plain(came))
    if found is None:
        return False
    pairs = zip(_DECIMAL.findall(plain(shown)), found.groups(), strict=True)
    return all(near(float(one.replace(",", "")), float(other.replace(",", ""))) for one, other in pairs)


def near(one: float, other: float) -> bool:
    return abs(one - other) <= max(0.02, 0.05 * max(abs(one), abs(other)))


# --- running ---------------------------------------------------------------------------------------------------------


class Reader:
    """Somebody who gives the commands of pages in a folder, one after the other."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        self.port = _free_port()
        self.status = 0
        self.servers: list[subprocess.Popen[str]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BOUCLE_", "PYTEST"))}
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "LOGNAME": "ada",
            "USER": "ada",
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            "PYTHONWARNINGS": "",
        }

    def read(self, page: Path) -> Iterator[Difference]:
        """Do what a page says, and tell where it is wrong."""
        try:
            for step in steps(page):
                if isinstance(step, File):
                    (self.folder / step.name).write_text(step.text, encoding="utf-8")
                    continue
                came = self.give(step)
                if not agree(step.shown, came):
                    yield Difference(page, step, came)
        finally:
            self.stop()

    def give(self, command: Command) -> list[str]:
        """Give one command; its output in lines, as it would stand in the page."""
        if command.words == "kill %1":
            self.stop()
            return []
        if command.in_background:
            return self._start(command.words[:-1].strip(), max(1, len(command.shown)))
        where = self.home / ".where"
        script = f"(exit {self.status})\n{self._real(command.words)}\nstatus=$?; pwd > '{where}'; exit $status"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.status = done.returncode
        self.folder = Path(where.read_text().strip())
        error = re.search(r"^(?:error: |Traceback )(?:.|\n)*", done.stderr, flags=re.MULTILINE)
        complaint = error[0] if error else "" if done.stdout else done.stderr
        return self._told(done.stdout + (complaint if done.returncode else ""))

    def stop(self) -> None:
        """Stop the servers as Ctrl-C does."""
        for server in self.servers:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)
            if server.stdout:
                server.stdout.close()
        self.servers.clear()

    def _start(self, words: str, lines: int) -> list[str]:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {self._real(words)}"], cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.servers.append(server)
        assert server.stdout is not None
        too_long = threading.Timer(_TIMEOUT_S, server.kill)
        too_long.start()
        told = [server.stdout.readline() for _ in range(lines)]
        too_long.cancel()
        return self._told("".join(told))

    def _real(self, words: str) -> str:
        return words.replace(PORT, str(self.port))

    def _told(self, output: str) -> list[str]:
        text = output.replace(str(self.home), "~").replace(str(self.port), PORT)
        return [line.rstrip() for line in text.strip("\n").splitlines()]


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


class Library:
    """The folders that pages leave behind, each made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._left: dict[Path, tuple[Path, Path]] = {}

    def read(self, page: Path) -> list[Difference]:
        """Run a page, after the one whose folder it begins in."""
        home = self.root / f"{len(list(self.root.iterdir()))}-{page.stem}"
        home.mkdir()
        folder = home
        if copied := FOLDER.search(page.read_text(encoding="utf-8")):
            folder = home / Path(copied[1]).name
            shutil.copytree(_ROOT / copied[1], folder, ignore=shutil.ignore_patterns(".boucle", "report.html"))
        if (before := base(page)) is not None:
            if before not in self._left:
                self.read(before)
            left_home, left_folder = self._left[before]
            shutil.copytree(left_home, home, dirs_exist_ok=True)
            folder = home / left_folder.relative_to(left_home)
        reader = Reader(folder, home)
        found = list(reader.read(page))
        self._left[page] = (home, reader.folder)
        return found


def correct(page: Path, found: Sequence[Difference]) -> None:
    """Write what came into the page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for one in sorted(found, key=lambda one: -one.command.line):
        begin = one.command.line + one.command.words.count("\n")
        lines[begin : begin + len(one.command.shown)] = one.came
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder))
        for page in (Path(name).resolve() for name in sys.argv[1:]):
            wrong = library.read(page)
            cut = [one for one in wrong if any("..." in line for line in one.command.shown)]
            correct(page, [one for one in wrong if one not in cut])
            for one in cut:
                sys.stdout.write(f"{one}\n")
            sys.stdout.write(f"{page.name}: {len(wrong) - len(cut)} outputs written, {len(cut)} to be done by hand\n")
