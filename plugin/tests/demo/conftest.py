"""Lists of Debian's packages, as apt downloads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


PACKAGES = """\
Package: gimp
Version: 2.10
Depends: libc6
 continued
Description: GNU Image Manipulation Program
Description-md5: aaa

Package: gimp-data
Source: gimp (2.10-1)
Description: Data files for GIMP
Description-md5: bbb

Package: third-party
Description: described in place
 First paragraph
 goes on.
 .
 Second.
"""


UPDATES = """\
Package: gimp
Description: newer
Description-md5: ccc

Package: only-in-updates
Description: short only
Description-md5: ddd
"""


TRANSLATION = """\
Package: gimp
Description-md5: aaa
Description-en: GNU Image Manipulation Program
 GIMP edits photos: you can
 retouch them.
 .
 Features:
  * layers
  * masks
 - and more

Package: gimp
Description-md5: old
Description-en: Another version
 Old text.
"""


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Write the package lists that apt would download; return their folder."""
    folder = tmp_path / "lists"
    folder.mkdir()
    base = "deb.example_debian_dists_stable"
    (folder / f"{base}_main_binary-amd64_Packages").write_text(PACKAGES)
    (folder / f"{base}-updates_main_binary-amd64_Packages").write_text(UPDATES)
    (folder / f"{base}_main_i18n_Translation-en").write_text(TRANSLATION)
    return folder
