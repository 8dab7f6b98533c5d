"""What ``lusifer doctor`` finds: each with how bad it is and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity", "error", "note", "ok", "warning"]

Severity = Literal["ok", "note", "warning", "error"]
"""Fine; worth knowing; will bite some day; does not work."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    severity: Severity
    subject: str
    """What was looked at, in two words."""
    message: str
    """What was seen, with its numbers."""
    fix: str = ""
    """What to do; empty where nothing needs to be done."""

    def as_dict(self) -> dict[str, str]:
        """JSON-ready fields."""
        return {
            "severity": self.severity,
            "subject": self.subject,
            "message": self.message,
            "fix": self.fix,
        }


def ok(subject: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", subject, message)


def note(subject: str, message: str, fix: str = "") -> Finding:
    """Worth knowing."""
    return Finding("note", subject, message, fix)


def warning(subject: str, message: str, fix: str) -> Finding:
    """Works, and will bite some day."""
    return Finding("warning", subject, message, fix)


def error(subject: str, message: str, fix: str) -> Finding:
    """Does not work."""
    return Finding("error", subject, message, fix)
