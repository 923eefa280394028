"""A training that is killed at any moment, inside a save too, comes to the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_twenty_kills(tmp_path: Path) -> None:
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, (here, here.parent, here.parent.parent)))
    done = subprocess.run(
        [sys.executable, here / "killed_training.py", tmp_path, "1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    killed, different = map(int, done.stdout.split())
    assert killed >= 20
    assert different == 0
