"""The default bundle, for callers that name none.

Environment variables, read at each call:

* ``LUSIFER_CACHE``: folder for files that can be built again (default: the user's cache folder).
* ``LUSIFER_BUNDLE``: folder of a bundle that replaces the default one.
* ``LUSIFER_ENGINE``: engine of the commands, ``onnx`` (default), ``openvino``, ``openvino-bf16`` or
  ``auto``.
* ``LUSIFER_ALLOW_FAILED_GATE``: 1 opens bundles that failed export's quality gate.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

from lusifer.common.paths import cache_directory
from lusifer.errors import MissingExtraError

__all__ = ["default_bundle"]


def default_bundle() -> Path:
    """Return the folder of the default bundle, built on the first call on a machine.

    Returns:
        ``LUSIFER_BUNDLE`` if set (not checked here), else the bundle in
        ``cache_directory()/bundles``.

    Raises:
        MissingExtraError: The bundle must be built and the packages to build it are not installed.
    """
    if configured := os.environ.get("LUSIFER_BUNDLE"):
        return Path(configured).expanduser()
    builders = entry_points(group="lusifer.bundle_builders", name="default")
    try:
        # The export component registers its builder, so that serving a bundle needs no torch.
        build = next(iter(builders)).load()
        return Path(build(cache_directory() / "bundles", precision="int8-dynamic"))
    except (ImportError, StopIteration) as error:
        reason = str(error) or "no builder is installed"
        raise MissingExtraError(
            f"No bundle was named and the default one can't be built: {reason}.",
            next_step="Run pip install 'lusifer[export]', or set LUSIFER_BUNDLE (or pass a path) "
            "to a bundle that was built elsewhere.",
        ) from error
