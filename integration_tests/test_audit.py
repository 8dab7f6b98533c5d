"""The audit of versions says when it could not ask anybody, and does not pass for a clean one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_without_a_source_of_advisories_nothing_is_said_to_be_clean(tmp_path: Path) -> None:
    nowhere = {
        "https_proxy": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "no_proxy": "",
    }
    done = subprocess.run(
        [str(ROOT / ".ci" / "audit"), sys.executable, str(tmp_path / "audit")],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("Not audited: neither pypi.org nor api.osv.dev can be reached")
