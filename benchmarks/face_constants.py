"""Computes the constants of `data.faces.landmarks`: mean mesh and point shares.

    python -m benchmarks.face_constants --photos=DIR,DIR --detections=DIR

Needs no labels. Finds the mesh of the largest face in each photo. Their mean,
up to position, size and rotation and made symmetric, becomes `face_mesh.npz`,
together with the deviation of the faces from it. If DIR/NAME.txt has MTCNN's
points for the photos, it prints the two shares with which `points_of_mesh`
matches them.

The repository's constants came from albums of Barack Obama and Roger Federer,
who are not among the people in the labeled crops of `prepare_accuracy`.
"""

import pathlib

import numpy as np
from absl import flags
from PIL import Image
from scipy import optimize
from scipy.spatial import transform

from my3dgen_jax.data.faces import landmarks, mediapipe_models
from my3dgen_jax.launch.support import cli
from my3dgen_jax.storage import files

_PHOTOS = flags.DEFINE_list("photos", None, "Folders of photos.", required=True)
_DETECTIONS = flags.DEFINE_string(
  "detections", None, "Folder of MTCNN's points, NAME.txt; default: none."
)
_OUT = flags.DEFINE_string(
  "out", None, "File to write the mean mesh to (.npz); default: none."
)
_ROUNDS = 10  # iterations of the mean's fit, which converges in three
_FOREHEAD, _CHIN, _OUTER_CORNERS = 10, 152, (33, 263)
# MTCNN sometimes misses faces. Points with larger errors, in distances between
# the eyes' outer corners, are not used.
_OUTLIER, _NOISE = 0.1, 0.03


def main():
  detect = mediapipe_models.face_detector()
  photos = sorted(
    path for folder in _PHOTOS.value for path in pathlib.Path(folder).iterdir()
  )
  meshes = {}
  for path in photos:
    faces = detect(np.asarray(Image.open(path).convert("RGB")))
    if faces:
      meshes[path.stem] = faces[0].dense
  print(f"{len(meshes)} faces in {len(photos)} photos")
  if _OUT.value:
    points, deviation = mean_of(list(meshes.values()))
    with files.replacing(_OUT.value) as file:
      np.savez_compressed(
        file,
        points=points.astype(np.float32),
        deviation=deviation.astype(np.float32),
      )
  if _DETECTIONS.value:
    seen = {
      path.stem: landmarks.read_points(path)
      for path in pathlib.Path(_DETECTIONS.value).glob("*.txt")
    }
    pairs = [
      (meshes[name][:, :2], seen[name])
      for name in sorted(meshes.keys() & seen.keys())
    ]
    print(f"with MTCNN's points: {len(pairs)}")
    fit_shares(pairs)


def mean_of(meshes: list[np.ndarray]):
  """The mean mesh [468, 3] and the meshes' deviation from it, [468, 2]."""
  mirror = landmarks.mean_mesh().mirror
  upright = [mesh * [1, -1, -1] for mesh in meshes]
  upright += [(mesh * [-1, 1, 1])[mirror] for mesh in upright]
  mean = upright[0]
  for _ in range(_ROUNDS):
    fitted = [_onto(mesh, mean) for mesh in upright]
    mean = np.mean(fitted, axis=0)
    mean -= mean.mean(axis=0)
    mean /= np.linalg.norm(mean)
  # It includes the mirrored meshes, so it is symmetric up to a rotation.
  across = np.linalg.svd(mean - mean[mirror])[2][0]
  across *= np.sign(
    across @ (mean[_OUTER_CORNERS[1]] - mean[_OUTER_CORNERS[0]])
  )
  up = mean[_FOREHEAD] - mean[_CHIN]
  up -= across * (up @ across)
  up /= np.linalg.norm(up)
  mean = mean @ np.stack([across, up, np.cross(across, up)], axis=1)
  mean = (mean + (mean * [-1, 1, 1])[mirror]) / 2
  mean /= np.linalg.norm(np.subtract(*mean[list(_OUTER_CORNERS)]))
  errors = np.mean([_off(mesh, mean) ** 2 for mesh in upright], axis=0)
  return mean, np.sqrt(
    np.stack([errors[:, :2].mean(axis=1), errors[:, 2]], axis=1)
  )


def _motion(mesh, target):
  """Scale, rotation and both centers of the best similarity transform."""
  middle, goal = mesh.mean(axis=0), target.mean(axis=0)
  turn = transform.Rotation.align_vectors(target - goal, mesh - middle)[0]
  turned = turn.apply(mesh - middle)
  scale = np.sum(turned * (target - goal)) / np.sum(turned**2)
  return scale, turn, middle, goal


def _onto(mesh, target):
  scale, turn, middle, goal = _motion(mesh, target)
  return scale * turn.apply(mesh - middle) + goal


def _off(mesh, mean):
  """A mesh's deviation from the mean, in the photo's axes."""
  scale, turn, middle, goal = _motion(mean, mesh)
  return (scale * turn.apply(mean - middle) + goal - mesh) / scale


def fit_shares(pairs):
  """Prints the shares of the distances to the eyelid and to the bridge."""
  left, right = (33, 133), (263, 362)
  for name, bases, ends, rows in (
    ("eye to lid", (left, right), (159, 386), (0, 1)),
    ("nose to bridge", ((1,),), (168,), (2,)),
  ):
    ways, wanted = [], []
    for mesh, seen in pairs:
      unit = np.linalg.norm(np.subtract(*mesh[list(_OUTER_CORNERS)]))
      off = np.abs(landmarks.points_of_mesh(mesh) - seen).max() / unit
      if off > _OUTLIER:
        continue
      for base, end, row in zip(bases, ends, rows):
        middle = mesh[list(base)].mean(axis=0)
        ways.append((mesh[end] - middle) / unit)
        wanted.append((seen[row] - middle) / unit)
    ways, wanted = np.ravel(ways), np.ravel(wanted)
    share = optimize.least_squares(
      lambda x: x * ways - wanted, [0.0], loss="soft_l1", f_scale=_NOISE
    ).x[0]
    print(
      f"{name}: {share:.3f} ({len(wanted) // 2} points, rms "
      f"{np.sqrt(2 * np.mean((share * ways - wanted) ** 2)):.3f})"
    )


if __name__ == "__main__":
  cli.run(main)
