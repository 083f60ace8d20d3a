"""Training targets: the traits of people as numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import attributes, people
from my3dgen_jax.types import Array

_SQUASH = 2.2  # bound at which `people.decode` squashes parameters


def traits_of(person: people.Person) -> np.ndarray:
  """Standardized traits that distinguish N people, [N, M].

  Args:
    person: N people; their `photo` is ignored.
  """
  traits = np.concatenate(
    [
      _squashed(person.identity),
      *(getattr(person.marks, kind) for kind in people.MARKS),
    ],
    axis=-1,
  )
  spread = traits.std(axis=0)
  # Among few people, a kind of mark may not occur.
  return (traits - traits.mean(axis=0)) / np.where(spread > 0, spread, 1)


def targets_of(person: people.Person) -> jax.Array:
  """Targets of the feature network, [N, M], about normal or in [0, 1].

  Returns: shares of smile and age, all other parameters, squashed as by
    `people.decode`, and whether there is each kind of mark.
  """
  has = jnp.stack(
    [
      jnp.any(getattr(person.marks, kind) != 0, axis=-1)
      for kind in people.MARKS
    ],
    axis=-1,
  )
  rest = [
    i for i, name in enumerate(people.PHOTO) if name not in attributes.NAMES
  ]
  return jnp.concatenate(
    [
      jnp.stack([people.smile(person), people.age(person)], axis=-1),
      _squashed(person.identity),
      _squashed(person.photo[..., np.array(rest)]),
      has.astype(jnp.float32),
    ],
    axis=-1,
  )


def _squashed(numbers: Array) -> jax.Array:
  return _SQUASH * jnp.tanh(numbers / _SQUASH)
