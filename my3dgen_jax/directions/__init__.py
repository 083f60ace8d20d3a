"""Directions in W along which one attribute of a face changes.

    smile = directions.fit(w, scores, name="smile")        # w [N, w_dim]
    smile = directions.conditioned(smile, [age])           # smile without age
    directions.save("smile.npy", smile)
    smile = directions.load("smile.npy", w_dim=512, num_ws=14)

A direction is the normal of the plane that best separates samples with an
attribute from samples without it. The scores can come from a classifier run on
pictures of the samples, a table of labels, or the known parameters of
procedural people.

Source: Shen et al. 2020 (InterFaceGAN), sections 2.1 and 2.2.
"""

from my3dgen_jax.directions.direction import Direction
from my3dgen_jax.directions.files import check_vector, load, save, SUFFIX
from my3dgen_jax.directions.fitting import check_fitting, conditioned, fit
from my3dgen_jax.directions.labels import read_labels

__all__ = [
  "SUFFIX",
  "Direction",
  "check_fitting",
  "check_vector",
  "conditioned",
  "fit",
  "load",
  "read_labels",
  "save",
]
