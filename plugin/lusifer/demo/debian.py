"""Downloads Debian's English package descriptions from the machine's own apt sources.

``python -m lusifer.demo.debian OUT.jsonl`` writes one JSON line per package::

    {"id": "gimp", "package": "gimp", "source": "gimp", "short": "GNU Image …", "long": "…"}

apt downloads into a private folder. The system's package lists are neither read nor changed, and
root is not needed. apt checks the signatures as usual.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.common.files import atomic_writer
from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "DebianUnavailableError",
    "Package",
    "download_lists",
    "download_packages",
    "read_packages",
    "write_packages",
]

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 240.0
"""Longest time for the whole download; lists that arrived by then are used."""


class DebianUnavailableError(LusiferError):
    """The machine has no apt, or its apt sources have no package descriptions."""

    status = 503
    retryable = True


@dataclass(frozen=True, slots=True)
class Package:
    """One binary package and its description in English."""

    id: str
    """Name of the package, as the id of a document."""
    package: str
    """Name of the package."""
    source: str
    """Name of the source package; packages of one source often share most of their text."""
    short: str
    """Description in one line."""
    long: str
    """Paragraphs separated by an empty line; each list item is a line of its own."""
    checksum: str = ""
    """Key of the description in apt's lists; the translations have the same key."""


def download_lists(
    folder: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S, languages: Sequence[str] = ("en",)
) -> Path:
    """Download the package lists of the machine's apt sources into ``folder``.

    A source that can't be reached does not stop the others.

    Args:
        folder: Private folder; apt's configuration stays in it.
        timeout_s: Longest time for the whole download.
        languages: Languages of the descriptions, as apt names them, such as ``pt_BR``.

    Returns:
        The folder with the lists.

    Raises:
        DebianUnavailableError: There is no apt, or no list could be downloaded.
    """
    apt = _program("apt-get")
    folder = folder.resolve()
    lists = folder / "lists"
    for path in (lists / "partial", folder / "state", folder / "cache" / "archives" / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "state" / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(_configuration(folder, languages), encoding="utf-8")
    command = [apt, "--quiet=2", f"--config-file={configuration}", "update"]
    problem = _run(command, folder, timeout_s)
    if problem:
        logger.warning("apt-get update: %s", problem)
    if not any(lists.glob("*_Packages")):
        raise DebianUnavailableError(
            f"apt downloaded no package list: {_last_line(problem)}.",
            next_step="Check the network and /etc/apt/sources.list, then run the same command "
            "again.",
        )
    return lists


def download_packages(
    folder: Path, names: Sequence[str], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> dict[str, Path]:
    """Download and unpack packages; nothing is installed.

    Args:
        folder: Folder of :func:`download_lists`.
        names: Names of binary packages.
        timeout_s: Longest time for each download.

    Returns:
        The folder with the files of each package that arrived, by name.

    Raises:
        DebianUnavailableError: There is no apt or no dpkg, or no package arrived.
    """
    apt, dpkg = _program("apt-get"), _program("dpkg-deb")
    folder = folder.resolve()
    unpacked: dict[str, Path] = {}
    problem = ""
    for name in names:
        work = folder / "packages" / name
        work.mkdir(parents=True, exist_ok=True)
        command = [apt, "--quiet=2", f"--config-file={folder / 'apt.conf'}", "download", name]
        problem = _run(command, work, timeout_s) or problem
        for archive in work.glob("*.deb"):
            files = work / "files"
            failure = _run([dpkg, "--extract", str(archive), str(files)], work, timeout_s)
            archive.unlink()
            if files.is_dir():
                unpacked[name] = files
            problem = failure or problem
    if not unpacked:
        raise DebianUnavailableError(
            f"apt downloaded none of {len(names)} packages: {_last_line(problem)}.",
            next_step="Check the network and /etc/apt/sources.list, then run the same command "
            "again.",
        )
    return unpacked


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise DebianUnavailableError(
            f"This machine has no {name}.",
            next_step="Run this on a machine with Debian or Ubuntu.",
        )
    return path


def _run(command: list[str], folder: Path, timeout_s: float) -> str:
    """Run a program and return what it wrote to standard error, or why it did not run."""
    program = Path(command[0]).name
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        ).stderr.strip()
    except subprocess.TimeoutExpired:
        return f"{program} was stopped after {timeout_s:.0f} s"
    except OSError as error:
        return f"{program} could not be started: {error}"


def _last_line(problem: str) -> str:
    return problem.splitlines()[-1] if problem else "it gave no reason"


def _configuration(folder: Path, languages: Sequence[str]) -> str:
    """Return settings that apt reads after the machine's own, whose proxies and sources apply."""
    lines = [
        # Hooks of the desktop (PackageKit, AppStream) would change the system as root.
        "#clear APT::Update::Pre-Invoke;",
        "#clear APT::Update::Post-Invoke;",
        "#clear APT::Update::Post-Invoke-Success;",
        # Container images turn the descriptions off.
        "#clear Acquire::Languages;",
        "Acquire::Languages { " + " ".join(f'"{each}";' for each in languages) + " };",
        'Acquire::GzipIndexes "false";',
        'Acquire::Retries "3";',
        'Acquire::http::Timeout "20";',
        'Acquire::https::Timeout "20";',
        'Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";',
        'APT::Get::List-Cleanup "false";',
        # The account _apt can't write into a private folder.
        'APT::Sandbox::User "root";',
        'Debug::NoLocking "true";',
        f'Dir::State "{folder}/state";',
        f'Dir::State::Lists "{folder}/lists";',
        f'Dir::State::status "{folder}/state/status";',
        f'Dir::Cache "{folder}/cache";',
    ]
    lines += [f'{target}::DefaultEnabled "false";' for target in _other_targets()]
    return "\n".join(lines) + "\n"


def _other_targets() -> list[str]:
    """Return the index targets not needed here: lists of file names (hundreds of MB), icons."""
    dump = shutil.which("apt-config")
    if dump is None:
        return []
    try:
        finished = subprocess.run(
            [dump, "dump", "Acquire::IndexTargets"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    targets = set()
    for line in finished.stdout.splitlines():
        parts = line.split(" ", 1)[0].split("::")
        if len(parts) >= 4 and parts[2] == "deb" and parts[3] not in {"Packages", "Translations"}:
            targets.add("::".join(parts[:4]))
    return sorted(targets)


def read_packages(lists: Path) -> list[Package]:
    """Join the lists of packages with their descriptions.

    Args:
        lists: Folder with files ``*_Packages`` and ``*_i18n_Translation-en``.

    Returns:
        Every package once, sorted by name. If a package has several versions, the one in the
        largest list is kept: that is the release itself, not its updates.
    """
    descriptions: dict[tuple[str, str], str] = {}
    for path in lists.glob("*_i18n_Translation-en"):
        for stanza in _stanzas(path, {"Package", "Description-md5", "Description-en"}):
            if "Description-en" in stanza:
                key = (stanza.get("Package", ""), stanza.get("Description-md5", ""))
                descriptions.setdefault(key, stanza["Description-en"])
    packages: dict[str, Package] = {}
    wanted = {"Package", "Source", "Description", "Description-md5"}
    by_size = sorted(lists.glob("*_Packages"), key=lambda path: (-path.stat().st_size, path.name))
    for path in by_size:
        for stanza in _stanzas(path, wanted):
            name = stanza.get("Package", "")
            inline = stanza.get("Description", "")
            if not name or name in packages:
                continue
            checksum = stanza.get("Description-md5") or _description_md5(inline)
            text = descriptions.get((name, checksum), inline)
            short, long = _split_description(text)
            if short:
                source = stanza.get("Source", name).split(" ", 1)[0]
                packages[name] = Package(
                    id=name,
                    package=name,
                    source=source,
                    short=short,
                    long=long,
                    checksum=checksum,
                )
    return [packages[name] for name in sorted(packages)]


def _stanzas(path: Path, wanted: set[str]) -> Iterator[dict[str, str]]:
    """Yield the ``wanted`` fields of each stanza; continuation lines keep their indent."""
    stanza: dict[str, str] = {}
    continued = ""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            if not line:
                if stanza:
                    yield stanza
                stanza, continued = {}, ""
            elif line[0] in " \t":
                if continued:
                    stanza[continued] += "\n" + line
            else:
                field, _, value = line.partition(":")
                continued = field if field in wanted else ""
                if continued:
                    stanza[field] = value.strip()
    if stanza:
        yield stanza


def _description_md5(description: str) -> str:
    """Return the key of a description in apt's lists; Debian's format fixes the kind of hash."""
    return hashlib.md5(f"{description}\n".encode(), usedforsecurity=False).hexdigest()


def _split_description(description: str) -> tuple[str, str]:
    """Split off the short description; return it and the paragraphs of the long one.

    A line ``" ."`` is Debian's empty line.
    """
    short, *rest = description.split("\n")
    paragraphs: list[list[str]] = [[]]
    for line in rest:
        text = line[1:]
        if text.strip() in {"", "."}:
            paragraphs.append([])
        elif paragraphs[-1] and not _starts_item(text):
            paragraphs[-1][-1] += " " + text.strip()
        else:
            paragraphs[-1].append(text.strip())
    return short.strip(), "\n\n".join("\n".join(lines) for lines in paragraphs if lines)


def _starts_item(text: str) -> bool:
    return text.startswith(" ") or text[:2] in {"* ", "- ", "+ ", "• "}


def write_packages(packages: Iterable[Package], path: Path) -> int:
    """Write JSON lines; the file appears only when it is complete.

    Returns:
        The number of packages written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with atomic_writer(path) as file:
        for package in packages:
            record = asdict(package)
            del record["checksum"]
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def main(arguments: list[str] | None = None) -> int:
    """Download the descriptions and write them to the file that the only argument names."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0] in {"-h", "--help"}:
        sys.stderr.write("Usage: python -m lusifer.demo.debian OUT.jsonl\n")
        return 0 if given in (["-h"], ["--help"]) else 2
    try:
        with tempfile.TemporaryDirectory(prefix="lusifer-apt-") as folder:
            count = write_packages(read_packages(download_lists(Path(folder))), Path(given[0]))
    except LusiferError as error:
        sys.stderr.write(f"{error.message}\n{error.next_step}\n")
        return 1
    logger.info("%d packages written to %s", count, given[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
