"""A store whose clock stands still, real receivers on this machine, and an incident to tell of."""

import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Letters
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from held_ports import free_port

from boucle.integrations.dispatch import Dispatcher
from boucle.kernel.clock import FixedClock
from boucle.kernel.store import Store
from boucle.models.webhooks.api import allow_host
from boucle.monitoring.alerting.api import take
from boucle.monitoring.alerting.policy import AlertsSection, Route
from boucle.monitoring.records import Alert

PROJECT = "flights"


class Receiver(ThreadingHTTPServer):
    """Answers each POST with the next of `answers`, 200 when there is none left; waits for `gate` before."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[str, dict[str, str], str]] = []
        self.came = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for(
        self, enough: "Callable[[list[tuple[str, dict[str, str], str]]], object]", timeout_s: float = 60
    ) -> None:
        with self.came:
            assert self.came.wait_for(lambda: enough(self.got), timeout=timeout_s), self.got


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with self.server.came:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.got.append((self.path, headers, body))
            self.server.came.notify_all()
        self.server.gate.wait(60)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receivers() -> Iterator[Callable[[], Receiver]]:
    """Starts receivers."""
    started: list[tuple[Receiver, threading.Thread]] = []

    def start() -> Receiver:
        server = Receiver()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Mailbox(Letters):
    """Keeps the letters that a real SMTP server takes."""

    def __init__(self) -> None:
        super().__init__()
        self.letters: list[Message] = []
        self.refuses: dict[str, str] = {}
        """What it answers instead of taking a letter for an address."""

    async def handle_RCPT(  # noqa: N802 - as aiosmtpd calls it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def handle_message(self, message: Message) -> None:
        self.letters.append(message)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.fixture
def mail_server(mailbox: Mailbox, certificate: ssl.SSLContext) -> Iterator[Controller]:
    """A real SMTP server that asks for STARTTLS, and then for the user ada with the password s3cret."""

    def authenticate(*arguments: object) -> AuthResult:
        data = arguments[-1]
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login, data.password) == (b"ada", b"s3cret"), handled=False)

    server = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=certificate,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticate,
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.open(tmp_path / "home", clock=clock) as opened:
        for host in ("127.0.0.1", "localhost"):
            allow_host(opened, host, private=True, actor="person:ada")
        yield opened


def alert(subject: str = "temp", kind: str = "drift", day: date = date(2026, 1, 1)) -> Alert:
    return Alert(
        id=f"live/{kind}/{subject}/{day}",
        kind=kind,
        subject=subject,
        opened_on=day,
        message=f"{subject} drifted: <!channel> & so on\r\nBcc: all@example.org",
        evidence={"psi": 0.7},
    )


def happen(store: Store, section: AlertsSection, opened: list[Alert], closed: list[Alert] | None = None) -> None:
    """Alerts open and close in a window."""
    store.write(
        lambda conn: take(
            conn,
            PROJECT,
            stream="live",
            opened=opened,
            closed=closed or [],
            window="2026-01-01",
            policy=section,
            at=store.clock.now(),
            version="3",
        )
    )


def dispatcher(store: Store, *routes: Route, wall: FixedClock | None = None) -> tuple[Dispatcher, AlertsSection]:
    section = AlertsSection(routes=list(routes))
    assert isinstance(store.clock, FixedClock)
    return Dispatcher(store, PROJECT, section, wall=wall or store.clock), section
