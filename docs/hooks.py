"""Changes pages while mkdocs builds them."""

from __future__ import annotations

import re

_LITERAL_BLOCK = re.compile(r"<p>::</p>\s*|(?<=:):(?=</p>)")
_ROLE = re.compile(r":(?:class|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: object) -> str:
    """Remove reStructuredText's marks of code blocks and names, which Markdown would show."""
    return _ROLE.sub("", _LITERAL_BLOCK.sub("", html))
