"""Folders of the weights that come with the package.

The cards beside them (*.md) describe their contents, training and quality.
"""

import pathlib

_FOLDER = pathlib.Path(__file__).resolve().parent / "weights"

PRIOR = _FOLDER / "prior"
IDENTITY = _FOLDER / "identity"
LPIPS = _FOLDER / "lpips"
ATTRIBUTES = _FOLDER / "attributes"
