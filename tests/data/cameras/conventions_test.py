"""Labels of other programs are told apart, converted, or refused."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.config import PRESETS, RenderConfig
from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.cameras import conventions
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from tests.support import albums

CROPS = pathlib.Path(__file__).parents[4] / "shared" / "data" / "eg3d_crops"


def _matrices(c, change):
  """Labels whose matrices are changed."""
  matrix = c[:, :16].reshape(-1, 4, 4).astype(np.float64)
  return np.concatenate(
    [change(matrix).reshape(-1, 16), c[:, 16:].astype(np.float64)], axis=1
  )


def _in_pixels(c):
  c = c.astype(np.float64).copy()
  c[:, 16:22] *= 512
  return c


_Z_UP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
OTHERS = {
  "opengl": lambda c: _matrices(c, lambda m: m * [1, -1, -1, 1]),
  "pytorch3d": lambda c: _matrices(c, lambda m: m * [-1, -1, 1, 1]),
  "world2cam": lambda c: _matrices(c, np.linalg.inv),
  "columns": lambda c: _matrices(c, lambda m: m.swapaxes(1, 2)),
  "pixels": _in_pixels,
  "opengl,z_up": lambda c: _matrices(c, lambda m: _Z_UP @ m * [1, -1, -1, 1]),
  "opengl,pixels": lambda c: _in_pixels(OTHERS["opengl"](c)),
  "columns,world2cam": lambda c: _matrices(
    c, lambda m: np.linalg.inv(m).swapaxes(1, 2)
  ),
}


class ConventionsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "obama"

  def write(self, numbers):
    """An album with such labels, and their true ones."""
    albums.make(self.folder, count=8)
    names = list(dataset_json.read(self.folder / "dataset.json"))
    entries = [[name, c.tolist()] for name, c in zip(names, numbers)]
    (self.folder / "dataset.json").write_text(json.dumps({"labels": entries}))

  @parameterized.parameters(*OTHERS)
  def test_is_named_and_converts(self, convention):
    c = albums.labels(8)
    self.write(OTHERS[convention](c))
    with self.assertRaisesRegex(
      UserError,
      f"^{self.folder}.*photo0.*; the labels look like {convention}: set "
      f"--camera_convention={convention}$",
    ):
      open_album(self.folder)
    found = open_album(self.folder, convention=convention).c
    np.testing.assert_allclose(found, c, atol=2e-6)

  @parameterized.parameters(
    ("opengl,z_up", "opengl", "opengl,z_up"),
    ("opengl,z_up", "z_up", "opengl,z_up"),
    ("opengl,pixels", "pixels", "opengl,pixels"),
    ("world2cam", "opengl", "world2cam"),
  )
  def test_hints_lead_somewhere(self, true, given, hint):
    """They are what to give, not what to add to what was given."""
    self.write(OTHERS[true](albums.labels(8)))
    with self.assertRaisesRegex(UserError, f"--camera_convention={hint}$"):
      open_album(self.folder, convention=given)
    open_album(self.folder, convention=hint)

  def test_hints_of_nerf_files(self):
    """Whose default is OpenGL's axes."""
    c = albums.labels(8)
    for true, given in (
      ("opencv", ""),
      ("opengl,z_up", ""),
      ("opengl,z_up", "z_up"),
    ):
      numbers = OTHERS[true](c) if true in OTHERS else c
      albums.make(self.folder / true / given, count=8)
      folder = self.folder / true / given
      names = list(dataset_json.read(folder / "dataset.json"))
      (folder / "dataset.json").unlink()
      frames = [
        {"file_path": n, "transform_matrix": m[:16].reshape(4, 4).tolist()}
        for n, m in zip(names, np.asarray(numbers))
      ]
      (folder / "transforms.json").write_text(
        json.dumps({"w": 16, "h": 16, "fl_x": 68.2352, "frames": frames})
      )
      with self.assertRaisesRegex(UserError, f"--camera_convention={true}$"):
        open_album(folder, convention=given)
      np.testing.assert_allclose(
        open_album(folder, convention=true).c, c, atol=1e-5
      )

  def test_films_may_look_away(self):
    c = np.asarray(
      cameras.label(np.zeros(3), np.zeros(3), RenderConfig(), focal=20.0)
    ).copy()
    c[1, 1] *= -1  # upside down
    c[1, 5] *= -1
    c[1, 0], c[1, 5] = -c[1, 0], c[1, 5]
    c[2, 18] = 3.0  # far beside the head
    fine = np.asarray(cameras.label(0.0, 0.0, RenderConfig()))
    conventions.check(
      np.stack([fine, *c[1:]]), "abc", "film", may_look_away=True
    )
    opengl = OTHERS["opengl"](
      np.asarray(cameras.label(np.linspace(-1, 1, 4), 0))
    )
    with self.assertRaisesRegex(UserError, "--camera_convention=opengl$"):
      conventions.check(opengl, "abcd", "film", may_look_away=True)

  def test_own_by_name(self):
    albums.make(self.folder)
    album = open_album(self.folder, convention="opencv")
    np.testing.assert_array_equal(album.c, albums.labels(4))

  @parameterized.parameters("opengl", "pytorch3d", "z_up")
  def test_a_wrong_one_is_refused(self, convention):
    albums.make(self.folder)
    with self.assertRaises(UserError):
      open_album(self.folder, convention=convention)

  @parameterized.parameters("open gl", "opengl,opencv", "x")
  def test_no_convention(self, convention):
    with self.assertRaisesRegex(UserError, "^camera_convention: expected"):
      open_album(self.folder, convention=convention)

  def test_one_label_of_many(self):
    c = albums.labels(8).copy()
    c[3, :16] = (c[3, :16].reshape(4, 4) * [1, -1, -1, 1]).ravel()
    self.write(c)
    with self.assertRaisesRegex(
      UserError, "'photo03.png': the head is behind the camera; expected EG3D"
    ):
      open_album(self.folder)

  @parameterized.parameters(
    (dict(yaw=0.0, pitch=0.0, pivot=(3.0, 0, 0)), "outside the image"),
    (dict(yaw=0.0, pitch=0.0, radius=27.0), "the head is 27 from the camera"),
    (dict(yaw=0.0, pitch=0.0, radius=1.0), "the head is 1 from the camera"),
  )
  def test_other_faults(self, pose, message):
    c = cameras.pack_label(
      cameras.look_at(**{"radius": 2.7, **pose}),
      cameras.intrinsics_from_focal(4.2647),
    )
    with self.assertRaisesRegex(UserError, message):
      conventions.check(c[None], ["a.png"], "here", RenderConfig())

  @parameterized.parameters(*PRESETS)
  def test_cameras_of_all_presets(self, name):
    rendering = PRESETS[name].rendering
    yaw, pitch = np.random.default_rng(0).uniform(-0.6, 0.6, (2, 16))
    c = cameras.label(yaw, pitch, rendering)
    self.assertEqual(conventions.faults(c, rendering), [None] * 16)

  def test_real_labels(self):
    if not CROPS.is_dir():
      self.skipTest(f"needs {CROPS}")
    found = dataset_json.read(CROPS / "dataset.json")
    faults = conventions.faults(np.stack(list(found.values())), RenderConfig())
    self.assertEqual(set(faults), {None})


if __name__ == "__main__":
  absltest.main()
