"""Quality of the judges, on held-out people."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from my3dgen_jax.demo import attributes, gallery, people
from my3dgen_jax.losses import identity
from my3dgen_jax.types import Array

_AT_ONCE = 32  # photos measured by one call


def measure(
  folder: str | os.PathLike, galleries: tuple[gallery.Gallery, gallery.Gallery]
) -> dict[str, Any]:
  """Measures networks on photos.

  Args:
    folder: folder that contains `train_networks.FOLDERS`.
    galleries: galleries of twins, and of kinds of marks.

  Returns: plain data. Areas under the ROC curve: "auc_people" for photos of the
    same person against different people; "auc_twins" for the same person
    against a twin, who differs only in marks; "auc_kinds" for one kind of mark
    against none. Smile and age: root mean squared error of the share, and
    correlation.
  Raises: CheckpointError: weights cannot be read.
  """
  folder = pathlib.Path(folder)
  network = identity.load_identity(folder / "identity")
  wrapper, variables = network.module, network.variables
  regressor = attributes.load_attributes(folder / "attributes")
  embed = lambda photos: _in_parts(
    lambda images: wrapper.embed(variables, images), photos.images
  )
  twins, kinds = galleries
  result = {
    "people": int(twins.owner.max()) + 1,
    "photos": int(twins.images.shape[0]),
    **identity_quality(embed(twins), twins),
  }
  result["auc_kinds"] = kinds_quality(embed(kinds), kinds)
  found = _in_parts(regressor, twins.images)
  true = {"smile": people.smile(twins.person), "age": people.age(twins.person)}
  for name in attributes.NAMES:
    wanted = np.asarray(true[name])
    result[name] = {
      "rmse": float(np.sqrt(np.mean(np.square(found[name] - wanted)))),
      "correlation": float(np.corrcoef(found[name], wanted)[0, 1]),
    }
  return result


def _in_parts(function: Callable[[jax.Array], Any], images: np.ndarray) -> Any:
  """Applies a function of images in [-1, 1] to uint8 images, in batches."""
  function = jax.jit(lambda part, function=function: function(part))
  count = images.shape[0]
  filled = np.resize(np.arange(count), -(-count // _AT_ONCE) * _AT_ONCE)
  parts = [
    jax.device_get(function(images[chosen].astype(np.float32) / 127.5 - 1))
    for chosen in filled.reshape(-1, _AT_ONCE)
  ]
  return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


def identity_quality(
  embeddings: Array, photos: gallery.Gallery
) -> dict[str, float]:
  """Measures how well people, and twins, are told apart.

  Args:
    embeddings: [N, features], of unit length.
    photos: photos of twins.

  Returns: "auc_people" and "auc_twins", see `measure`; and the mean cosines of
    each kind of pair.
  """
  cosines, same, owner = _pairs(embeddings, photos)
  twins = owner & ~same
  return {
    "auc_people": area_under_curve(cosines[same], cosines[~owner]),
    "auc_twins": area_under_curve(cosines[same], cosines[twins]),
    "cosine_same": float(cosines[same].mean()),
    "cosine_twins": float(cosines[twins].mean()),
    "cosine_different": float(cosines[~owner].mean()),
  }


def kinds_quality(
  embeddings: Array, photos: gallery.Gallery
) -> dict[str, float]:
  """ "auc_twins" of `identity_quality`, for each kind of mark.

  Args:
    embeddings: [N, features], of unit length.
    photos: photos of kinds of marks.
  """
  variant = photos.label % (1 + len(people.MARKS))
  result = {}
  for n, kind in enumerate(people.MARKS):
    chosen = np.flatnonzero((variant == 0) | (variant == n + 1))
    cosines, same, owner = _pairs(
      embeddings[chosen],
      jax.tree.map(lambda x, chosen=chosen: x[chosen], photos),
    )
    result[kind] = area_under_curve(cosines[same], cosines[owner & ~same])
  return result


def _pairs(
  embeddings: np.ndarray, photos: gallery.Gallery
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """All pairs of photos: cosine, whether same variant, and same identity."""
  first, second = np.triu_indices(len(embeddings), 1)
  cosines = (embeddings @ embeddings.T)[first, second]
  return (
    cosines,
    photos.label[first] == photos.label[second],
    photos.owner[first] == photos.owner[second],
  )


def area_under_curve(high: Array, low: Array) -> float:
  """How often a number of `high` exceeds one of `low`; ties count half."""
  ordered = np.sort(low)
  below = (
    np.searchsorted(ordered, high, "left")
    + np.searchsorted(ordered, high, "right")
  ) / 2
  return float(below.mean() / len(ordered))
