"""The viewer of people in the browser: server, windows, and renderer.

Imports the other applications; only its command imports it.
"""

from my3dgen_jax.apps.viewer.server import Viewer, ViewerConfig

__all__ = ["Viewer", "ViewerConfig"]
