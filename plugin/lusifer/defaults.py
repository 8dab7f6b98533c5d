"""Where things lie when the user names no place: the cache folder and the default bundle.

Environment variables, read at each call:

* ``LUSIFER_CACHE``: folder for what can be built again (default: the user's cache folder).
* ``LUSIFER_BUNDLE``: folder of the bundle that stands in for the default one.
* ``LUSIFER_ENGINE``: engine of the commands, ``onnx`` (default), ``openvino``, ``openvino-bf16`` or ``auto``.
* ``LUSIFER_ALLOW_FAILED_GATE``: 1 opens bundles that export's gate refused.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from lusifer.errors import MissingExtraError

__all__ = ["cache_directory", "default_bundle"]


def cache_directory() -> Path:
    """The folder for files that can be built again; it may not exist yet."""
    if configured := os.environ.get("LUSIFER_CACHE"):
        return Path(configured).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("lusifer")


def default_bundle() -> Path:
    """The folder of the default bundle, built on the first call on a machine.

    Returns:
        ``LUSIFER_BUNDLE`` if set (not checked here), else the bundle in ``cache_directory()/bundles``.

    Raises:
        MissingExtraError: The bundle must be built and the packages to build it are not installed.
    """
    if configured := os.environ.get("LUSIFER_BUNDLE"):
        return Path(configured).expanduser()
    try:
        # The one place where the plugin reaches for the export component, by name and lazily: a search team
        # that is given a bundle never needs torch.
        export = import_module("lusifer_export.default")
        path: Path = export.build_default_bundle(cache_directory() / "bundles", precision="int8-dynamic")
    except ImportError as error:
        raise MissingExtraError(
            f"No bundle was named and the default one can't be built: {error}.",
            next_step="Run pip install 'lusifer[export]', or set LUSIFER_BUNDLE (or pass a path) to a bundle "
            "that was built elsewhere.",
        ) from error
    return Path(path)
