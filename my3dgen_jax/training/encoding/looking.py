"""Using an encoder: photos to latents, in as many looks as one likes."""

import jax
import jax.numpy as jnp

from my3dgen_jax.models.encoder import Found
from my3dgen_jax.models.generator import images_of
from my3dgen_jax.training.encoding.samples import of_all_layers, rendered
from my3dgen_jax.types import Array, Network

LOOKS = 2  # unless told otherwise


def encode(
  encoder: Network,
  generator: Network,
  image: Array,
  c: Array,
  mask: Array | None = None,
  *,
  looks: int = LOOKS,
) -> Found:
  """Photos to latents; may be jitted, and differentiated.

  Args:
    encoder: trained for the generator, or for that whose adapter it has.
    generator: renders between looks; not used if there is one look.
    image: [N, H, H, 3] in [-1, 1].
    c: [N, 25], cameras.
    mask: [N, H, H, 1] in [0, 1], 0: does not count; None: all counts.
    looks: >= 1.

  Returns: Found, ws [N, 1 or num_ws, w_dim].
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
  """`encode` compiled in parts, which every application shares.

  Images are rendered one by one, by the program that also shows results: it
  is compiled once, and what is found of a photo depends on no other.
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
