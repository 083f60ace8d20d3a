"""The training task of the feature network: smile, age and all other traits."""

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import attributes, gallery, people
from my3dgen_jax.demo.judges.settings import NetworksConfig
from my3dgen_jax.demo.judges.targets import targets_of
from my3dgen_jax.demo.judges.task import Task


def feature_task(config: NetworksConfig, photos: gallery.Gallery) -> Task:
  """The training of features that predict all parameters of a photo.

  Args:
    config: the training's settings.
    photos: the training photos.
  """
  targets = np.asarray(targets_of(photos.person))
  module = attributes.Regressor(targets.shape[-1])
  first, last = len(attributes.NAMES), -len(people.MARKS)

  def init(key):
    images = jnp.zeros((1, attributes.SIDE, attributes.SIDE, 3))
    return {"params": module.init(key, images)["params"], "batch_stats": {}}

  def loss(variables, images, targets, share):
    del share
    found = module.apply(
      {"params": variables["params"]}, attributes.resized(images)
    )
    error = jnp.square(jax.nn.sigmoid(found[:, :first]) - targets[:, :first])
    logits, has = found[:, last:], targets[:, last:]
    terms = {
      # The variance of a uniform share is 1 / 12.
      "attributes": 12 * jnp.mean(error),
      "parameters": jnp.mean(
        jnp.square(found[:, first:last] - targets[:, first:last])
      ),
      "marks": jnp.mean(jax.nn.softplus(logits) - has * logits),
    }
    return sum(terms.values()), (variables["batch_stats"], terms)

  return Task(
    "features", config.feature_steps, config.feature_rate, init, targets, loss
  )
