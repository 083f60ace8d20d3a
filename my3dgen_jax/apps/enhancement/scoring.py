"""How close an enhanced photo comes to the true one."""

import numpy as np

from my3dgen_jax.apps.enhancement.cases import Case
from my3dgen_jax.data import images
from my3dgen_jax.losses import scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.types import Network


def compare_with_truth(
  pixels: np.ndarray,
  mask: np.ndarray,
  truth: np.ndarray | None,
  score: IdentityScore | None,
  case: Case,
  row: int,
  lpips: Network | None,
) -> dict[str, float]:
  """A result's scores.

  Args:
    pixels: uint8 [H, W, 3], the result.
    mask: [H, W, 1], the new share of each pixel.
    truth: uint8 [H, W, 3], the true photo, or None.
    score: the identity score, or None.
    case: the case it belongs to.
    row: the photo's index in the case.
    lpips: the LPIPS network; None: no LPIPS scores.

  Returns: see `apps.enhance.write_enhanced`.
  """
  image = images.to_float(pixels)
  found = {}
  if truth is not None:
    found = scores.compare(image, images.to_float(truth), lpips=lpips)
    if case.degradation is None:
      found.update(
        {
          f"{name}_hole": value
          for name, value in scores.compare(
            image, images.to_float(truth), lpips=lpips, mask=mask
          ).items()
        }
      )
  if score is not None:
    found["id_sim"] = float(score(image[None])[0])
  if case.degradation is not None:
    again = np.asarray(case.degradation.apply(image[None]))[0]
    missing = np.abs(again - images.to_float(case.seen[row]))
    known = (
      None
      if case.known is None
      else np.broadcast_to(case.known[row], missing.shape)
    )
    found["grey_levels"] = float(np.average(missing, weights=known) * 127.5)
  return found
