"""`boucle check --fix`: mends boucle.yaml, and shows what was changed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boucle.app.session import Session


def mend(session: "Session", *, quiet: bool) -> list[str]:
    """Mend the project's file as far as it is certain what was meant; the reasons of all changes.

    The file is written once, in one step, after the file as it was is kept in boucle.yaml.bak. What stays wrong is
    left for the check that follows.
    """
    from boucle.kernel.errors import BoucleError
    from boucle.kernel.paths import rewrite
    from boucle.project.folder import NAME
    from boucle.project.mend import mend_features, mend_text
    from boucle.project.yaml_file import read_text

    path = session.folder() / NAME
    before = read_text(path)
    mended = mend_text(before)
    text, reasons = mended.text, list(mended.reasons)
    try:
        further = mend_features(text, session.folder())
    except BoucleError:
        pass  # the check that follows says what is wrong, of the file as it is then
    else:
        text, reasons = further.text, reasons + further.reasons
    if text != before:
        rewrite(path.with_name(f"{NAME}.bak"), before.encode(), like=path)
        rewrite(path, text.encode())
    if not quiet:
        _show(session, before, text, reasons)
    return reasons


def _show(session: "Session", before: str, after: str, reasons: list[str]) -> None:
    from difflib import unified_diff

    from rich.text import Text

    from boucle.app.console import console
    from boucle.project.folder import NAME

    screen = console(session.color)
    if not reasons:
        screen.print(f"{NAME}: nothing to mend")
        return
    for reason in reasons:
        screen.print(f"mended: {reason}")
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in unified_diff(before.splitlines(), after.splitlines(), f"{NAME}.bak", NAME, lineterm="", n=1):
        screen.print(Text(line, style=styles.get(line[:1], "")))
    screen.print("")
