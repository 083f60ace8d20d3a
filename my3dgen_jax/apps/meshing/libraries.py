"""Optional libraries for meshes."""

import importlib
from typing import Any

from my3dgen_jax.errors import without_package

# Packages whose name differs from their module's.
_PACKAGES = {
  "fast_simplification": "fast-simplification",
  "skimage": "scikit-image",
}


def library(name: str) -> Any:
  """A module of the extra `mesh`; raises UserError if it is missing."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    package = name.partition(".")[0]
    package = _PACKAGES.get(package, package)
    raise without_package(
      error,
      package,
      f'meshes need {package}: pip install ".[mesh]", or pip install {package}',
    ) from error
