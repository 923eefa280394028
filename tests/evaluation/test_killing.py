"""``kill -9`` at any moment, inside a write too: the run goes on, and its numbers are those of an uninterrupted one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killing.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "7"], capture_output=True, text=True, check=True, env=environment
    )
    killed, whole = (json.loads(line) for line in done.stdout.splitlines())
    assert killed["interrupted"] == 20
    assert killed["torn"] >= 5
    assert killed["lines"] == whole["lines"]
    assert killed["report"] == killed["written"] == whole["report"]
    assert [line["index"] for line in killed["lines"]] == list(range(80))
