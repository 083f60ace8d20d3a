"""The demo's prior: a small EG3D architecture, and the z of people.

A random z is a random head: the first numbers of z are the parameters of a
procedural person, and the others only extend z to the norm that the mapping
network gives every z. So a random z has random parameters, and the true z of
a person is known.
"""

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.config import (
  BackboneConfig,
  DecoderConfig,
  GeneratorConfig,
  MappingConfig,
  RenderConfig,
  SuperresolutionConfig,
)
from my3dgen_jax.demo import people
from my3dgen_jax.types import Array

NUM_PARAMETERS = len(people.IDENTITY) + len(people.PHOTO)

MODEL = GeneratorConfig(
  z_dim=96,
  w_dim=128,
  neural_rendering_resolution=64,
  # The camera must not affect who is shown.
  mapping=MappingConfig(num_layers=2, zero_label=True),
  # An eye is 0.03 units high: two texels with planes of 64, four with these.
  backbone=BackboneConfig(
    resolution=128, plane_channels=16, channel_base=2048, channel_max=128
  ),
  decoder=DecoderConfig(hidden_features=32, color_features=16),
  rendering=RenderConfig(depth_resolution=12, depth_resolution_importance=12),
  superresolution=SuperresolutionConfig(
    module="SuperresolutionHybrid2X",
    input_resolution=64,
    channels=(48, 24),
    up=(False, True),
  ),
)


def latents(key: chex.PRNGKey, person: people.Person) -> jax.Array:
  """The z of people.

  The mapping network scales z to the norm sqrt(z_dim), which would lose how
  extreme a person is. So the remaining numbers are drawn to give every z this
  norm.

  Args:
    key: the PRNG key of the remaining numbers, which have no meaning.
    person: N people, every array with a leading axis N; marks are ignored.

  Returns: [N, z_dim].
  """
  parameters = jnp.concatenate([person.identity, person.photo], axis=-1)
  chex.assert_shape(parameters, (None, NUM_PARAMETERS))
  squared = jnp.sum(jnp.square(parameters), axis=-1, keepdims=True)
  # One person in a hundred thousand has a larger norm than any z.
  parameters *= jnp.minimum(1.0, jnp.sqrt(MODEL.z_dim / squared))
  rest = jax.random.normal(
    key, (parameters.shape[0], MODEL.z_dim - NUM_PARAMETERS)
  )
  left = jnp.maximum(MODEL.z_dim - squared, 0.0)
  rest *= jnp.sqrt(left / jnp.sum(jnp.square(rest), axis=-1, keepdims=True))
  return jnp.concatenate([parameters, rest], axis=-1)


def parameters_of(z: Array) -> people.Person:
  """The people that latents describe, without marks.

  Args:
    z: [N, z_dim], of any norm.
  """
  z = z * (MODEL.z_dim**0.5 / jnp.linalg.norm(z, axis=-1, keepdims=True))
  first, last = len(people.IDENTITY), NUM_PARAMETERS
  return people.Person(
    identity=z[:, :first],
    photo=z[:, first:last],
    marks=people.no_marks(z.shape[:1]),
  )
