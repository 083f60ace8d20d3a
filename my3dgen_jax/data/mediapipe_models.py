"""What MediaPipe's package sees in a picture.

Its version 0.10.14 has the models inside; later ones download them, which
nothing here does.
"""

import os
from typing import Any, Callable

import chex
import numpy as np

from my3dgen_jax.data import images
from my3dgen_jax.errors import UserError, one_line


def person_segmenter() -> Callable[[chex.Array], np.ndarray]:
  """A function that finds people.

  It takes images [N, H, W, 3] in [-1, 1] and returns masks [N, H, W, 1] in
  [0, 1], 1: a person.

  Raises: UserError: MediaPipe is missing, or is one without models.
  """
  model = _solution("selfie_segmentation").SelfieSegmentation(
      model_selection=0)

  def segment(pictures: chex.Array) -> np.ndarray:
    return np.stack([model.process(picture).segmentation_mask[..., None]
                     for picture in images.to_uint8(pictures)])

  return segment


def _solution(name: str) -> Any:
  """A module of `mediapipe.solutions`."""
  os.environ.setdefault("GLOG_minloglevel", "2")  # it talks a lot
  try:
    # pylint: disable=import-outside-toplevel
    from mediapipe.python import solutions
    return getattr(solutions, name)
  except (ImportError, AttributeError) as error:
    raise UserError('finding people and faces needs MediaPipe 0.10.14: pip '
                    f'install "my3dgen-jax[prepare]" ({one_line(error)})'
                    ) from error
