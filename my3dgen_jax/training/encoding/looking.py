"""Encodes photos to latents, in one or more passes."""

import jax
import jax.numpy as jnp

from my3dgen_jax.models.encoder import Found
from my3dgen_jax.models.generator import images_of
from my3dgen_jax.training.encoding.samples import of_all_layers, rendered
from my3dgen_jax.types import Array, Network

LOOKS = 2  # default number of passes


def encode(
  encoder: Network,
  generator: Network,
  image: Array,
  c: Array,
  mask: Array | None = None,
  *,
  looks: int = LOOKS,
) -> Found:
  """Encodes photos to latents; may be jitted and differentiated.

  Args:
    encoder: an encoder trained for the generator, or for its base.
    generator: renders between passes; not used with a single pass.
    image: [N, H, H, 3] in [-1, 1].
    c: [N, 25], camera labels.
    mask: [N, H, H, 1] in [0, 1], 0: ignore; None: use everything.
    looks: number of passes, >= 1.

  Returns: Found, with ws [N, 1 or num_ws, w_dim].
  """
  seen = encoder(image, mask, method="seen")
  found = encoder(seen, c, method="look")
  for _ in range(looks - 1):
    render = rendered(generator, found.ws, c)
    found = encoder(seen, c, render, found.ws, method="look")
  return found


def encode_photos(
  encoder: Network,
  generator: Network,
  image: Array,
  c: Array,
  mask: Array | None = None,
  *,
  looks: int = LOOKS,
) -> Found:
  """`encode`, compiled in parts that every application shares.

  Images are rendered one by one, with the program that also renders results:
  it is compiled once, and a photo's latent does not depend on other photos.
  """
  seen = _seen(encoder, image, mask)
  found = _look(encoder, seen, c, None, None)
  for _ in range(looks - 1):
    ws = of_all_layers(generator, found.ws)
    shown = [
      images_of(generator, ws[i : i + 1], c[i : i + 1]).image
      for i in range(ws.shape[0])
    ]
    found = _look(encoder, seen, c, jnp.concatenate(shown), found.ws)
  return found


@jax.jit
def _seen(encoder, image, mask):
  return encoder(image, mask, method="seen")


@jax.jit
def _look(encoder, seen, c, render, ws):
  return encoder(seen, c, render, ws, method="look")
