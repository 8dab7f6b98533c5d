"""What mkdocs does to a page beside its plugins."""

from __future__ import annotations

import re
from typing import Any

_LITERAL_BLOCK = re.compile(r"<p>::</p>\s*|(?<=:):(?=</p>)")
_ROLE = re.compile(r":(?:class|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings mark code blocks and names as reStructuredText does; in Markdown the marks would show."""
    return _ROLE.sub("", _LITERAL_BLOCK.sub("", html))
