"""Whether a photo's face is worth learning from, and whose it is.

Everything is measured on the aligned crop, brought to one size, so that it
says the same of a large photo and of a small one. The limits named here were
found on 100 photos of real albums, and on worse copies of them;
`benchmarks/photo_checks.py` repeats the measurements.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.cluster import hierarchy
from scipy.spatial import distance

from my3dgen_jax.data.faces.face_align import Alignment
from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array

# Of `Quality`. Sharp crops lie above 0.40; the same blurred by 2 pixels of
# 256 (standard deviation) or smeared over 9, with noise or saved as a poor
# JPEG after that, below 0.38.
MIN_SHARPNESS = 0.36
# Colour photos lie above 6.5, grey and sepia ones below 2.5.
MIN_COLOR = 4.0
# Of `correlations`. Copies of one photo (cut, edited, saved again) lie above
# 0.95, other photos of the same moment below 0.86.
DUPLICATE = 0.92

# Of `find_person`, with MobileFaceNet on faces of `recognition_face`: groups
# of faces join above the first; whoever is less like the person's mean than
# the second is somebody else. In 300 random mixtures of one person's photos
# with fewer of others, none of 1,338 others passed, and 50 of 5,037 photos of
# the person did not: one who looks down.
JOIN_SIMILARITY = 0.3
PERSON_SIMILARITY = 0.25

_SIZE = 256  # of the crop that is measured
_FACE = slice(64, 200), slice(56, 200)  # where the face is in it
_NOISE = 0.7  # pixels; blurs away a camera's noise, which would seem sharp
_REBLUR = 9  # pixels
_THUMBNAIL = 32
_LEAST_OVERLAP = 0.25  # of two thumbnails, that they can be compared
_BLOCK = 128  # faces that are compared with all others at a time

# ArcFace's template: eyes, tip of the nose, corners of the mouth, the image's
# left first, in pixels of 112 x 112. Source: InsightFace.
_TEMPLATE = np.array(
  [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
  ]
)
_TEMPLATE_SIDE = 112


@dataclasses.dataclass(frozen=True, eq=False)
class Quality:
  """What is measured of one face.

  Attributes:
    sharpness: in [0, 1]; see `MIN_SHARPNESS`.
    color: levels of 255 by which chroma is more than a tint; see
      `MIN_COLOR`.
    side: of the crop, in the photo's pixels.
    inside: share of the crop that lies in the photo.
    thumbnail: [32, 32] uint8, grey.
    thumbnail_mask: [32, 32] bool, where it lies in the photo.
  """

  sharpness: float
  color: float
  side: float
  inside: float
  thumbnail: np.ndarray
  thumbnail_mask: np.ndarray


def measure(photo: np.ndarray, alignment: Alignment) -> Quality:
  """Measures the face that an alignment cuts out of a photo.

  Args:
    photo: [H, W, 3] uint8.
    alignment: of the face; its size does not matter.

  Raises: UserError, as `Alignment.crop`.
  """
  crop = dataclasses.replace(alignment, size=_SIZE).crop(photo)
  grey = luminance(crop.image)
  side = _SIZE // _THUMBNAIL
  blocks = lambda x: x.reshape(_THUMBNAIL, side, _THUMBNAIL, side)
  return Quality(
    sharpness=sharpness(grey[_FACE]),
    color=_color(crop.image),
    side=alignment.side,
    inside=float(crop.mask.mean()),
    thumbnail=np.rint(blocks(grey).mean(axis=(1, 3))).astype(np.uint8),
    thumbnail_mask=blocks(crop.mask[..., 0]).min(axis=(1, 3)) > 0,
  )


def luminance(image: np.ndarray) -> np.ndarray:
  """[..., 3] uint8 -> [...] in [0, 255]."""
  return image @ np.array([0.299, 0.587, 0.114])


def sharpness(grey: np.ndarray) -> float:
  """What share of the differences between neighbours a blur takes away.

  What is blurred already has little to lose. Contrast does not matter.

  Args:
    grey: [H, W].

  Returns: in [0, 1], the smaller of those along x and along y, so that a
    motion's smear shows.
  Source: Crete et al., "The blur effect: perception and estimation with a new
    no-reference perceptual blur metric", 2007; the light blur against noise
    is ours.
  """
  grey = ndimage.gaussian_filter(np.asarray(grey, np.float64), _NOISE)
  shares = []
  for axis in (0, 1):
    blurred = ndimage.uniform_filter1d(grey, _REBLUR, axis=axis)
    before = np.abs(np.diff(grey, axis=axis))
    after = np.abs(np.diff(blurred, axis=axis))
    shares.append(np.maximum(before - after, 0).sum() / max(before.sum(), 1e-9))
  return float(min(shares))


def _color(image: np.ndarray) -> float:
  """How much of the chroma does not follow from the luminance."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  small = (
    Image.fromarray(image)
    .convert("YCbCr")
    .resize((_SIZE // 4, _SIZE // 4), Image.Resampling.BOX)
  )
  y, *chroma = np.asarray(small, np.float64).reshape(-1, 3).T
  # Sepia's chroma is a curve over its luminance.
  curve = np.stack([np.ones_like(y), y / 255, (y / 255) ** 2], axis=1)
  chroma = np.stack(chroma, axis=1)
  rest = chroma - curve @ np.linalg.lstsq(curve, chroma, rcond=None)[0]
  return float(np.sqrt(np.mean(np.sum(rest**2, axis=1))))


def correlations(
  faces: Sequence[Quality], others: Sequence[Quality] | None = None
) -> np.ndarray:
  """How alike faces look, pixel by pixel, where both lie in their photos.

  Args:
    faces: N of them.
    others: M that they are compared with; None: with each other.

  Returns: [N, M] in [-1, 1]; 0 where too little of two can be compared.
  """
  others = faces if others is None else others
  if not faces or not others:
    return np.zeros((len(faces), len(others)))
  (x, x_mask), (y, y_mask) = _masked(faces), _masked(others)
  count = x_mask @ y_mask.T
  enough = count >= _LEAST_OVERLAP * _THUMBNAIL**2
  count = np.maximum(count, 1)

  def moments(sums, squares):  # of the one, where the other is seen
    mean = sums / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 1e-12))

  x_mean, x_deviation = moments(x @ y_mask.T, x**2 @ y_mask.T)
  y_mean, y_deviation = moments(x_mask @ y.T, x_mask @ (y**2).T)
  covariance = x @ y.T / count - x_mean * y_mean
  return np.where(enough, covariance / (x_deviation * y_deviation), 0)


def _masked(faces: Sequence[Quality]) -> tuple[np.ndarray, np.ndarray]:
  """Thumbnails, 0 outside of the photos, and where they lie in them."""
  mask = np.stack([face.thumbnail_mask.ravel() for face in faces])
  x = np.stack([face.thumbnail.ravel() for face in faces]) / 255 * mask
  return x, mask.astype(np.float64)


def duplicates(
  faces: Sequence[Quality], *, threshold: float = DUPLICATE
) -> list[int | None]:
  """Which faces are near copies of better ones.

  Args:
    faces: N of them.
    threshold: of `correlations`.

  Returns: for each the one that it repeats, or None. The one with more
    detail is never said to repeat the other.
  """
  detail = [face.sharpness * min(face.side, 2 * _SIZE) for face in faces]
  order = sorted(range(len(faces)), key=lambda i: (-detail[i], i))
  ordered = [faces[i] for i in order]
  result: list[int | None] = [None] * len(faces)
  kept: list[int] = []  # places in the order
  for start in range(0, len(order), _BLOCK):
    end = start + _BLOCK
    for n, alike in enumerate(
      correlations(ordered[start:end], ordered[:end]), start
    ):
      nearest = kept[np.argmax(alike[kept])] if kept else None
      if nearest is not None and alike[nearest] > threshold:
        result[order[n]] = order[nearest]
      else:
        kept.append(n)
  return result


def recognition_face(photo: np.ndarray, points: Array) -> np.ndarray:
  """A face as networks for recognition are trained with: also turned upright.

  Args:
    photo: [H, W, 3] uint8.
    points: [5, 2], as `landmarks.Face.points`.

  Returns: [112, 112, 3] uint8, black outside the photo.
  Raises: UserError: the points lie all in one place.
  """
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  # As complex numbers a turn and a scale are one factor.
  template, points = (
    np.asarray(x, np.float64) @ [1, 1j] for x in (_TEMPLATE, points)
  )
  centred = template - template.mean()
  factor = np.vdot(centred, points - points.mean()) / np.vdot(centred, centred)
  shift = points.mean() - factor * template.mean()
  if abs(factor) * _TEMPLATE_SIDE < 1:
    raise UserError("landmarks: they lie all in one place")
  # Bicubic interpolation looks at 4 x 4 pixels, however far apart.
  times = max(1, int(abs(factor)))
  box = shift + factor * _TEMPLATE_SIDE * np.array([0, 1, 1j, 1 + 1j])
  left, top = int(box.real.min()) - 2 * times, int(box.imag.min()) - 2 * times
  part = (
    Image.fromarray(photo)
    .crop(
      (
        left,
        top,
        int(box.real.max()) + 3 * times,
        int(box.imag.max()) + 3 * times,
      )
    )
    .reduce(times)
  )
  factor, shift = factor / times, (shift - complex(left, top)) / times
  return np.asarray(
    part.transform(
      (_TEMPLATE_SIDE, _TEMPLATE_SIDE),
      Image.Transform.AFFINE,
      (
        factor.real,
        -factor.imag,
        shift.real,
        factor.imag,
        factor.real,
        shift.imag,
      ),
      Image.Resampling.BICUBIC,
    )
  )


def find_person(
  embeddings: Array, photos: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
  """Which faces are those of the person who is in most of the photos.

  Faces are clustered by their mean similarity. The person is the cluster that
  is in most photos, and after that whoever is near its mean. Of several that
  are in as many, it is the one that is most often the first face of a photo,
  and of those the one that comes first.

  Args:
    embeddings: [N, features], of unit length.
    photos: [N], the photo that each face is in; its largest face first.

  Returns:
    mine: [N] bool, whether it is the person's; at most one face of a photo.
    similarity: [N], its cosine with the mean of the person's.
  """
  embeddings = np.asarray(embeddings, np.float64)
  photos = np.asarray(photos)
  if len(embeddings) < 2:
    return np.ones(len(embeddings), bool), np.ones(len(embeddings))
  firsts = np.unique(photos, return_index=True)[1]
  mine = max(
    _people(embeddings),
    key=lambda of: (
      len(np.unique(photos[of])),
      of[firsts].sum(),
      -np.argmax(of),
    ),
  )
  for _ in range(3):  # the mean moves little after the first
    mean = embeddings[mine].mean(axis=0)
    similarity = embeddings @ (mean / max(np.linalg.norm(mean), 1e-12))
    mine = similarity >= PERSON_SIMILARITY
    for photo in np.unique(photos):
      there = np.flatnonzero(photos == photo)
      mine[there] &= there == there[np.argmax(similarity[there])]
  return mine, similarity


def photos_of_another(
  embeddings: Array, photos: Sequence[int], mine: np.ndarray
) -> int:
  """In how many photos that other person is who is in most of them.

  Args:
    embeddings: [N, features], of unit length.
    photos: [N], the photo that each face is in.
    mine: [N] bool, of `find_person`.
  """
  others = np.asarray(photos)[~mine]
  return max(
    (
      len(np.unique(others[of]))
      for of in _people(np.asarray(embeddings, np.float64)[~mine])
    ),
    default=0,
  )


def _people(embeddings: np.ndarray) -> list[np.ndarray]:
  """Faces clustered by their mean similarity; which are each one's, [N]."""
  if len(embeddings) < 2:
    return [np.ones(1, bool)] * len(embeddings)
  apart = distance.pdist(embeddings, "cosine")
  clusters = hierarchy.fcluster(
    hierarchy.average(apart), 1 - JOIN_SIMILARITY, "distance"
  )
  return [clusters == number for number in np.unique(clusters)]
