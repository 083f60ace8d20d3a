"""Where the weights that come with the package lie, by what they are for.

What they are, how they were made and how good they are: the cards beside them.
"""

import pathlib

_FOLDER = pathlib.Path(__file__).resolve().parent / "weights"

PRIOR = _FOLDER / "prior"
IDENTITY = _FOLDER / "identity"
LPIPS = _FOLDER / "lpips"
ATTRIBUTES = _FOLDER / "attributes"
