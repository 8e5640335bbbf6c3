"""`boucle.Registry`: the registry and its gates from any Python program, through the doors of Boucle's own protocol.

A server is asked over HTTP. With a store's folder the same handlers are called in this process, so that both ways
answer, and refuse, alike.
"""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, overload
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from boucle.kernel.errors import NotFound, Unavailable
from boucle.runs.client.destination import destination
from boucle.runs.client.targets import authorization

if TYPE_CHECKING:
    from boucle.governance.records import Review, Signature, Standing
    from boucle.models.records import AliasMove, ModelVersion

T = TypeVar("T")
TIMEOUT_S: Final = 60.0
_VERSIONS: Final = "/models/{name}/versions"
_VERSION: Final = "/models/{name}/versions/{version}"
_STAGE: Final = f"{_VERSION}/stage"
_ALIAS: Final = "/models/{name}/aliases/{alias}"


class _At(msgspec.Struct, frozen=True):
    version: int


class Registry:
    """The registry of one project. Opens nothing by itself; each method asks once."""

    def __init__(
        self,
        url: str | None = None,
        home: str | Path | None = None,
        project: str | None = None,
        token: str | None = None,
    ) -> None:
        """Server, store and project are found as `boucle.start_run` finds them; so is who asks, without `token`."""
        self._where = destination(url, home, project)
        self._token = token

    def __repr__(self) -> str:
        project = f" of {self._where.project}" if self._where.project else ""
        return f"<boucle.Registry{project} at {self._where}>"

    def versions(self, name: str) -> "list[ModelVersion]":
        """Every version of a model, oldest first."""
        from boucle.models.records import ModelVersion

        return self.ask("GET", _VERSIONS, list[ModelVersion], name=name)

    def standing(self, name: str, number: int) -> "Standing":
        """A version with the verdict of each gate now, reviews, waivers, permits, and what to do next."""
        from boucle.governance.records import Standing

        return self.ask("GET", _VERSION, Standing, name=name, version=number)

    @overload
    def history(self, name: str, at: None = None, *, alias: str = ...) -> "list[AliasMove]": ...
    @overload
    def history(self, name: str, at: str | datetime, *, alias: str = ...) -> int: ...
    def history(
        self, name: str, at: str | datetime | None = None, *, alias: str = "champion"
    ) -> "list[AliasMove] | int":
        """Every move of an alias, oldest first; or the number of the version that it stood for at a moment.

        A moment without a zone is in UTC. NotFound if there was no such version then.
        """
        from boucle.models.records import AliasMove

        if at is None:
            return self.ask("GET", _ALIAS, list[AliasMove], name=name, alias=alias)
        query = {"at": at.isoformat() if isinstance(at, datetime) else at}
        return self.ask("GET", _ALIAS, _At, query=query, name=name, alias=alias).version

    def promote(
        self, name: str, number: int, alias: str = "champion", *, reason: str = "", instead_of: int | None = None
    ) -> "AliasMove":
        """Point an alias at a version; with `instead_of` only if it points at that one now.

        GatesRefused, with every verdict in `details`, if a policy protects the alias and its gates say no.
        """
        from boucle.models.records import AliasMove

        body: dict[str, object] = {"version": number, "reason": reason}
        if instead_of is not None:
            body["instead_of"] = instead_of
        return self.ask("PUT", _ALIAS, AliasMove, body=body, name=name, alias=alias)

    def set_stage(
        self, name: str, number: int, stage: str, *, reason: str = "", archive_existing: bool = False
    ) -> "Standing":
        """Put a version into a stage; `archive_existing` takes those that are in it out, into `Archived`.

        GatesRefused, with every verdict in `details`, if a policy protects the stage and its gates say no.
        """
        from boucle.governance.records import Standing

        body = {"stage": stage, "reason": reason, "archive_existing": archive_existing}
        return self.ask("PUT", _STAGE, Standing, body=body, name=name, version=number)

    def approve(self, name: str, number: int, *, comment: str = "") -> "Review":
        """Approve a version, as the reviewer whose token it is; Refused for anybody else, and for the author."""
        from boucle.governance.records import Review

        return self.ask("POST", f"{_VERSION}/approve", Review, body={"comment": comment}, name=name, version=number)

    def add_signature(self, name: str, number: int, signature: str | Path, key: str | Path) -> "Signature":
        """Keep a signature of a version's files: the file that `boucle sign FOLDER` wrote, and that of the public key.

        Refused unless it is of exactly these files and by that key. Which keys count is the policy's to say.
        """
        from boucle.governance.records import Signature

        body = {"signature": _text(signature), "key": _text(key)}
        return self.ask("POST", f"{_VERSION}/signatures", Signature, body=body, name=name, version=number)

    def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: dict[str, str] | None = None,
        body: object = None,
        **values: str | int,
    ) -> T:
        """Ask the door at a route's path; `values` stand for its `{name}` segments."""
        named = {name: str(value) for name, value in values.items()}
        if any(value in ("", ".", "..") or "/" in value for value in named.values()):
            raise NotFound(f"nothing is called {' or '.join(map(repr, named.values()))}", hint="boucle models list")
        content = b"" if body is None else msgspec.json.encode(body)
        way = self._through_store if self._where.url is None else self._over_http
        answer = way(method, path, named, urlencode(query or {}), content)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"{self._where} does not answer as a Boucle server does: {error}") from error

    def _over_http(self, method: str, path: str, values: dict[str, str], query: str, body: bytes) -> bytes:
        import http.client

        parts = urlsplit(self._where.url or "")
        base = parts.path.rstrip("/") + (f"/p/{self._where.project}" if self._where.project else "")
        place = re.sub(r"{(\w+)}", lambda found: quote(values[found[1]], safe=""), path)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        headers = {"content-type": "application/json", **authorization(self._where.server, self._token)}
        try:
            connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
            try:
                connection.request(method, f"{base}/api/v1{place}" + (f"?{query}" if query else ""), body, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"{self._where} cannot be reached: {error or type(error).__name__}") from error
        if answer.status == 200:
            return content
        from boucle.protocols.native.errors import raised

        try:
            refusal = raised(content)
        except msgspec.MsgspecError:
            raise Unavailable(f"{self._where} answers {answer.status}, not as a Boucle server does") from None
        raise refusal

    def _through_store(self, method: str, path: str, values: dict[str, str], query: str, body: bytes) -> bytes:
        from boucle.identity.accounts import who_acts
        from boucle.identity.http import Request
        from boucle.identity.policies import permit
        from boucle.kernel.store import Store, refuse_unmade
        from boucle.protocols.native import labels, registry, reviews

        home = Path(self._where.home or "")
        refuse_unmade(home)
        with Store.open(home) as store:
            doors = [*registry.routes(store), *reviews.routes(store), *labels.routes(store)]
            (route,) = [one for one in doors if (one.method, one.path) == (method, path)]
            principal = who_acts(store, self._token or os.environ.get("BOUCLE_TOKEN"))
            permit(route.policy, principal)
            request = Request(
                method,
                path,
                values=values,
                query=query,
                body=body,
                project=self._where.project or "default",
                principal=principal,
            )
            answer: bytes = route.handler(request).body
            return answer


def _text(file: str | Path) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise NotFound(f"{str(file)!r} is no file of text", hint="boucle sign FOLDER --key FILE") from error
