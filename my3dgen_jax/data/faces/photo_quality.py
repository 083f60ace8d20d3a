"""Whether a photo's face is usable for training, and whose face it is.

Everything is measured on the aligned crop, resized to one size, so that large
and small photos get the same values. The limits below were found on 100 photos
from real albums, and on degraded copies of them; `benchmarks/photo_checks.py`
repeats the measurements.
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

# Limit of `Quality.sharpness`. Sharp crops are above 0.40; the same crops
# blurred by 2 pixels of 256 (standard deviation) or smeared over 9, with noise
# or poor JPEG compression after that, are below 0.38.
MIN_SHARPNESS = 0.36
# Color photos are above 6.5, gray and sepia ones below 2.5.
MIN_COLOR = 4.0
# Limit of `correlations`. Copies of one photo (cropped, edited, saved again)
# are above 0.95, other photos of the same moment below 0.86.
DUPLICATE = 0.92

# Limits of `find_person`, with MobileFaceNet on faces of `recognition_face`:
# groups of faces join above the first; a face less similar to the person's mean
# than the second is someone else's. In 300 random mixtures of one person's
# photos with fewer of others, none of 1,338 others passed, and 50 of 5,037
# photos of the person were rejected: those of a person who looks down.
JOIN_SIMILARITY = 0.3
PERSON_SIMILARITY = 0.25

_SIZE = 256  # side of the crop that is measured, pixels
_FACE = slice(64, 200), slice(56, 200)  # the face's place in it
_NOISE = 0.7  # pixels; blurs away camera noise, which would seem sharp
_REBLUR = 9  # width of the blur whose effect is measured, pixels
_THUMBNAIL = 32
_LEAST_OVERLAP = 0.25  # of two thumbnails, for a comparison
_BLOCK = 128  # faces compared with all others at a time

# ArcFace's template: eyes, tip of the nose, corners of the mouth, left ones
# first (in the image), in pixels of 112 x 112. Source: InsightFace.
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
  """Measurements of one face.

  Attributes:
    sharpness: sharpness, in [0, 1]; see `MIN_SHARPNESS`.
    color: chroma beyond a tint, in levels of 255; see `MIN_COLOR`.
    side: side of the crop, in the photo's pixels.
    inside: fraction of the crop that is inside the photo.
    thumbnail: [32, 32] uint8, gray.
    thumbnail_mask: [32, 32] bool, where it is inside the photo.
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
    alignment: alignment of the face; its size does not matter.

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
  """Luminance, [..., 3] uint8 to [...] in [0, 255]."""
  return image @ np.array([0.299, 0.587, 0.114])


def sharpness(grey: np.ndarray) -> float:
  """The fraction of differences between neighbors that a blur removes.

  A blurred image has little left to lose. Contrast does not matter.

  Args:
    grey: [H, W].

  Returns: sharpness in [0, 1], the smaller of the values along x and along y,
    so that motion blur counts.
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
  """The amount of chroma that does not follow from the luminance."""
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
  """Pixel-wise similarity of faces, where both are inside their photos.

  Args:
    faces: N faces.
    others: M faces to compare with; None: with each other.

  Returns: [N, M] in [-1, 1]; 0 if too little of two faces can be compared.
  """
  others = faces if others is None else others
  if not faces or not others:
    return np.zeros((len(faces), len(others)))
  (x, x_mask), (y, y_mask) = _masked(faces), _masked(others)
  count = x_mask @ y_mask.T
  enough = count >= _LEAST_OVERLAP * _THUMBNAIL**2
  count = np.maximum(count, 1)

  def moments(sums, squares):  # of one, where the other is visible
    mean = sums / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 1e-12))

  x_mean, x_deviation = moments(x @ y_mask.T, x**2 @ y_mask.T)
  y_mean, y_deviation = moments(x_mask @ y.T, x_mask @ (y**2).T)
  covariance = x @ y.T / count - x_mean * y_mean
  return np.where(enough, covariance / (x_deviation * y_deviation), 0)


def _masked(faces: Sequence[Quality]) -> tuple[np.ndarray, np.ndarray]:
  """Thumbnails, 0 outside the photos, and where they are inside."""
  mask = np.stack([face.thumbnail_mask.ravel() for face in faces])
  x = np.stack([face.thumbnail.ravel() for face in faces]) / 255 * mask
  return x, mask.astype(np.float64)


def duplicates(
  faces: Sequence[Quality], *, threshold: float = DUPLICATE
) -> list[int | None]:
  """Finds faces that are near copies of better ones.

  Args:
    faces: N faces.
    threshold: smallest correlation of copies, see `correlations`.

  Returns: for each face the index of the one that it copies, or None. The
    more detailed one is never a copy of the other.
  """
  detail = [face.sharpness * min(face.side, 2 * _SIZE) for face in faces]
  order = sorted(range(len(faces)), key=lambda i: (-detail[i], i))
  ordered = [faces[i] for i in order]
  result: list[int | None] = [None] * len(faces)
  kept: list[int] = []  # positions in the order
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
  """A face aligned as for recognition networks: also rotated upright.

  Args:
    photo: [H, W, 3] uint8.
    points: [5, 2], as `landmarks.Face.points`.

  Returns: [112, 112, 3] uint8, black outside the photo.
  Raises: UserError: all points are in one place.
  """
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  # As complex numbers, a rotation and a scale are one factor.
  template, points = (
    np.asarray(x, np.float64) @ [1, 1j] for x in (_TEMPLATE, points)
  )
  centred = template - template.mean()
  factor = np.vdot(centred, points - points.mean()) / np.vdot(centred, centred)
  shift = points.mean() - factor * template.mean()
  if abs(factor) * _TEMPLATE_SIDE < 1:
    raise UserError("landmarks: all are in the same place")
  # Bicubic interpolation reads 4 x 4 pixels, whatever their distance.
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
  """Finds the faces of the person who is in most of the photos.

  Faces are clustered by their mean similarity. The person is the cluster found
  in most photos, extended by all faces near its mean. In case of a tie, it is
  the cluster that most often has the first face of a photo, and then the one
  that comes first.

  Args:
    embeddings: [N, features], of unit length.
    photos: [N], the photo of each face; a photo's largest face first.

  Returns:
    mine: [N] bool, whether it is the person's; at most one face per photo.
    similarity: [N], its cosine similarity with the person's mean.
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
  """The number of photos with the most frequent other person.

  Args:
    embeddings: [N, features], of unit length.
    photos: [N], the photo of each face.
    mine: [N] bool, the result of `find_person`.
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
  """Clusters faces by mean similarity; returns each one's indices."""
  if len(embeddings) < 2:
    return [np.ones(1, bool)] * len(embeddings)
  apart = distance.pdist(embeddings, "cosine")
  clusters = hierarchy.fcluster(
    hierarchy.average(apart), 1 - JOIN_SIMILARITY, "distance"
  )
  return [clusters == number for number in np.unique(clusters)]
