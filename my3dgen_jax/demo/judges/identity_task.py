"""The training task of the identity network, with ArcFace's margin.

Source of the margin: Deng et al., "ArcFace: Additive Angular Margin Loss for
Deep Face Recognition", CVPR 2019, equation 3.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import gallery
from my3dgen_jax.demo.judges.settings import NetworksConfig
from my3dgen_jax.demo.judges.targets import traits_of
from my3dgen_jax.demo.judges.task import Task
from my3dgen_jax.losses import identity
from my3dgen_jax.types import Array

IDENTITY = "ir_se_small"

_WARM_UP = 0.4  # share of the steps until the margin is reached


def identity_task(config: NetworksConfig, photos: gallery.Gallery) -> Task:
  """The training of the identity network, with a class per person and twin.

  Args:
    config: the training's settings.
    photos: the training photos.
  """
  network = identity.NETWORKS[IDENTITY]
  module = network.module(train=True)
  _, first = np.unique(photos.label, return_index=True)
  classes = traits_of(jax.tree.map(lambda x: x[first], photos.person))

  def init(key):
    images = jnp.zeros((1, network.side, network.side, 3))
    variables = module.init(key, images)
    centres = jax.random.normal(
      jax.random.fold_in(key, 1), (classes.shape[1], module.features)
    )
    return {
      "params": {"network": variables["params"], "centres": centres},
      "batch_stats": variables["batch_stats"],
    }

  def loss(variables, images, labels, share):
    params = variables["params"]
    embeddings, updated = module.apply(
      {"params": params["network"], "batch_stats": variables["batch_stats"]},
      identity.average_pool(images, network.side),
      mutable=["batch_stats"],
    )
    centres = classes @ params["centres"]
    centres *= jax.lax.rsqrt(jnp.sum(jnp.square(centres), -1, keepdims=True))
    cosines = embeddings @ centres.T
    margin = config.margin * jnp.minimum(share / _WARM_UP, 1)
    value = margin_loss(cosines, labels, margin=margin, scale=config.scale)
    right = jnp.mean(jnp.argmax(cosines, axis=-1) == labels)
    return value, (updated["batch_stats"], {"identity": value, "right": right})

  return Task(
    "identity",
    config.identity_steps,
    config.identity_rate,
    init,
    photos.label,
    loss,
  )


def margin_loss(
  cosines: Array, labels: Array, *, margin: chex.Numeric, scale: float
) -> jax.Array:
  """ArcFace's loss, averaged over samples.

  Args:
    cosines: [N, classes], cosines between embeddings and class centers.
    labels: [N], the correct classes.
    margin: angle added to the angle of the correct class, radians.
    scale: factor on the cosines.
  """
  right = jax.nn.one_hot(labels, cosines.shape[-1], dtype=bool)
  cosine = jnp.sum(jnp.where(right, cosines, 0), -1)
  # The sine's gradient is infinite at an angle of 0.
  sine = jnp.sqrt(jnp.maximum(1 - jnp.square(cosine), 1e-6))
  moved = cosine * jnp.cos(margin) - sine * jnp.sin(margin)
  # Beyond pi - margin, the cosine would increase again.
  moved = jnp.where(
    cosine > -jnp.cos(margin), moved, cosine - margin * jnp.sin(margin)
  )
  logits = scale * jnp.where(right, moved[:, None], cosines)
  return jnp.mean(jax.nn.logsumexp(logits, -1) - scale * moved)
