"""Hub ids: a small hub on this machine speaks the real protocol to the real huggingface_hub."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from gptapps.errors import CheckpointError, ModelFetchError, ModelNotFoundError, ResourceError
from gptapps.model_store import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = b'{"model_type": "gpt2"}'
REPOSITORIES = {
    "org/whole": {
        "config.json": CONFIG,
        "model.safetensors": b"w" * 5000,
        "consolidated.safetensors": b"again" * 1000,
        "original/model.safetensors": b"again" * 1000,
        "pytorch_model.bin": b"pickle",
        "tokenizer.json": b"{}",
        "README.md": b"# whole",
    },
    "org/pickles": {"config.json": CONFIG, "pytorch_model.bin": b"pickle"},
    "org/bare": {"README.md": b"# bare"},
}
REFUSALS = {"org/gated": (403, "GatedRepo"), "org/absent": (404, "RepoNotFound"), "org/broken": (500, "")}


class Hub(BaseHTTPRequestHandler):
    """The three kinds of request that a snapshot takes: revision, tree, file."""

    asked: tuple[list[str], ...] = ([],)

    def do_GET(self) -> None:
        self.asked[0].append(self.path)
        pieces = self.path.partition("?")[0].strip("/").split("/")
        if pieces[0] == "api" and pieces[1] != "models":
            self._send(404, b"{}")  # huggingface_hub asks for more than the snapshot, once a process
            return
        if pieces[0] == "api":
            name, kind, revision = "/".join(pieces[2:4]), pieces[4], pieces[5]
        else:
            name, kind, revision = "/".join(pieces[:2]), pieces[2], pieces[3]
        if name in REFUSALS:
            status, code = REFUSALS[name]
            self._send(status, b"{}", {"X-Error-Code": code})
        elif revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif kind == "revision":
            self._send(200, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())
        elif kind == "tree":
            self._send(200, json.dumps([self._entry(*item) for item in REPOSITORIES[name].items()]).encode())
        else:
            content = REPOSITORIES[name]["/".join(pieces[4:])]
            self._send(200, content, {"ETag": f'"{self._oid(content)}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": path, "size": len(content), "oid": self._oid(content)}

    def _oid(self, content: bytes) -> str:
        return hashlib.sha1(content).hexdigest()

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no hub behind any address."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "GPTAPPS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    point_hub_at("http://127.0.0.1:9", monkeypatch)
    return tmp_path / "hub"


@pytest.fixture
def asked(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A running hub; the value is the list of paths it was asked for."""
    monkeypatch.setattr(Hub, "asked", ([],))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    point_hub_at(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield Hub.asked[0]
    server.shutdown()
    server.server_close()
    thread.join()


def point_hub_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def put_in_cache(hub_cache: Path, name: str) -> Path:
    """Lay ``name`` down in the hub's cache as an earlier download would have."""
    place = hub_cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    for file in ("config.json", "model.safetensors"):
        (snapshot / file).write_text("{}")
    return snapshot


def test_only_what_is_read_is_fetched_once(asked: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    local = resolve("org/whole")
    assert local.name == "org/whole"
    assert sorted(path.name for path in local.path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert capfd.readouterr() == ("", "")
    before = sum("resolve" in path for path in asked)
    assert resolve("org/whole", revision="main").path == local.path
    assert sum("resolve" in path for path in asked) == before
    assert resolve("org/whole", offline=True).path == local.path


def test_progress_counts_the_bytes_of_all_files(asked: list[str]) -> None:
    seen: list[tuple[str, int, int]] = []
    resolve("org/whole", progress=lambda what, done, total: seen.append((what, done, total)))
    size = sum(len(REPOSITORIES["org/whole"][name]) for name in ("config.json", "model.safetensors", "tokenizer.json"))
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert seen[-1] == ("Fetching org/whole", size, size)


def test_a_repository_of_pickles_is_refused_and_none_is_fetched(asked: list[str]) -> None:
    with pytest.raises(
        CheckpointError, match=r"'org/pickles' offers no safetensors .* never loaded .*from_pretrained\('org/pickles'\)"
    ):
        resolve("org/pickles")
    assert not any("pytorch_model.bin" in path for path in asked)


def test_a_repository_without_a_configuration_is_no_model(asked: list[str]) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'org/bare' holds no model"):
        resolve("org/bare")


@pytest.mark.parametrize(
    ("name", "revision", "kind", "message"),
    [
        ("org/absent", None, ModelNotFoundError, "The hub has no model 'org/absent'"),
        ("org/gated", None, ModelFetchError, r"'org/gated' is restricted: .*`hf auth login`"),
        ("org/whole", "v9", ModelNotFoundError, "'org/whole' has no revision 'v9'"),
        ("org/broken", None, ModelFetchError, r"'org/broken' could not be fetched \(.*500"),
        ("org/no--name", None, ModelNotFoundError, "'org/no--name' is no hub id"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    asked: list[str], name: str, revision: str | None, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        resolve(name, revision=revision)
    assert "\n" not in str(caught.value)


def test_without_a_network_it_says_so() -> None:
    with pytest.raises(ModelFetchError, match=r"'org/whole' could not be fetched \(.*refused.*check the network"):
        resolve("org/whole")


def test_without_a_network_the_cache_serves(hub_cache: Path) -> None:
    snapshot = put_in_cache(hub_cache, "org/cached")
    assert resolve("org/cached").path == snapshot


def test_offline_the_cache_serves_and_nobody_is_asked(
    hub_cache: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snapshot = put_in_cache(hub_cache, "org/cached")
    assert resolve("org/cached").path == snapshot
    with pytest.raises(
        ModelFetchError, match=r"'org/whole' is not in the hub's cache.*`gptapps models pull org/whole`"
    ):
        resolve("org/whole")
    assert asked == []


def test_a_full_disk_names_the_cache_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*args: object, **options: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ResourceError, match=r"hub's cache is full.*HF_HOME"):
        resolve("org/whole")
