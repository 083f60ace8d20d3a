"""People in the browser: the server, its windows, and the renderer.

Imports the other applications; nothing imports it but its command.
"""

from my3dgen_jax.apps.viewer.server import Viewer, ViewerConfig

__all__ = ["Viewer", "ViewerConfig"]
