"""What people are, in numbers that networks learn."""

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import attributes, people
from my3dgen_jax.types import Array

_SQUASH = 2.2  # where `people.decode` squashes parameters


def traits_of(person: people.Person) -> np.ndarray:
  """What makes each of N people different from others, [N, M], standardised.

  Args:
    person: N people; their `photo` does not count.
  """
  traits = np.concatenate(
    [
      _squashed(person.identity),
      *(getattr(person.marks, kind) for kind in people.MARKS),
    ],
    axis=-1,
  )
  spread = traits.std(axis=0)
  # Of a few people, none may have a kind of mark.
  return (traits - traits.mean(axis=0)) / np.where(spread > 0, spread, 1)


def targets_of(person: people.Person) -> jax.Array:
  """What features learn about people, [N, M] about normal or in [0, 1].

  Returns: shares of smile and age, all other parameters as `people.decode`
    squashes them, and which kinds of marks there are.
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
