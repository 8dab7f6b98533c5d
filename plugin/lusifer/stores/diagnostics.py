"""What ``lusifer doctor`` finds: each with how bad it is and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Diagnostic", "Severity", "error", "note", "ok", "warning"]

Severity = Literal["ok", "note", "warning", "error"]
"""Fine; worth knowing; will bite some day; does not work."""


@dataclass(frozen=True)
class Diagnostic:
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


def ok(subject: str, message: str) -> Diagnostic:
    """Nothing to do."""
    return Diagnostic("ok", subject, message)


def note(subject: str, message: str, fix: str = "") -> Diagnostic:
    """Worth knowing."""
    return Diagnostic("note", subject, message, fix)


def warning(subject: str, message: str, fix: str) -> Diagnostic:
    """Works, and will bite some day."""
    return Diagnostic("warning", subject, message, fix)


def error(subject: str, message: str, fix: str) -> Diagnostic:
    """Does not work."""
    return Diagnostic("error", subject, message, fix)
