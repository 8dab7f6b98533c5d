"""The speed at which a client sends a body or reads an answer, measured over windows of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lusifer.service.settings import Settings

__all__ = ["ClientSpeed"]


class ClientSpeed:
    """Judges one client. All times are of ``Connections.now_s``.

    Args:
        settings: The limits.
        now_s: Time at which the connection was made.
    """

    def __init__(self, settings: Settings, now_s: float) -> None:
        self._settings = settings
        self._moved_bytes = self._window_bytes = 0
        self._window_s = now_s
        self._unsent_since_s: float | None = None
        self.moved_s = now_s
        """Time at which the client was last seen to send or read a byte."""

    def note(self, moved_bytes: int, unsent_bytes: int, now_s: float) -> None:
        """Note what the client has sent and read so far, and what it has still to read."""
        if moved_bytes != self._moved_bytes:
            self._moved_bytes, self.moved_s = moved_bytes, now_s
        if not unsent_bytes or self._unsent_since_s is None:
            self._unsent_since_s = now_s if unsent_bytes else None

    def restart(self, now_s: float) -> None:
        """Begin a window: the client has nothing to send or read until now."""
        self._window_bytes, self._window_s = self._moved_bytes, now_s

    def complaint(self, now_s: float) -> str | None:
        """Return what is wrong with a client that has something to send or read, or None."""
        settings, window_s = self._settings, self._settings.stall_timeout_s
        since_s = self._unsent_since_s
        if since_s is not None and now_s - since_s >= settings.deadline_s:
            return f"The answer was not read within {settings.deadline_s:g} s."
        if now_s - self._window_s < window_s:
            return None
        in_window = self._moved_bytes - self._window_bytes
        self.restart(now_s)
        if in_window >= settings.minimum_bytes_per_s * window_s:
            return None
        return (
            f"{in_window} bytes were sent or read in {window_s:g} s, at least "
            f"{settings.minimum_bytes_per_s} a second are needed."
        )
