"""MobileFaceNet against PyTorch's numbers, its properties, and real faces."""

import functools
import importlib.util
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from converters import arcface_to_flax
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import identity
from my3dgen_jax.losses.mobilefacenet import MobileFaceNet
from tests.support import faces, golden

_DATA = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
_RELEASED = _DATA / "weights" / "mobilefacenet"
_MOST_PHOTOS = 12  # of an album: enough to tell, and a few seconds


def images():
  return golden.to_nhwc(np.tanh(golden.draw("input.arcface", (2, 3, 112, 112))))


@functools.cache
def variables():
  return jax.device_put(
    faces.variables(faces.mobilefacenet_state_dict(), "mobilefacenet")
  )


@functools.cache
def embed(dtype="float32"):
  return jax.jit(identity.Identity("mobilefacenet", dtype=dtype).embed_faces)


class GoldenTest(absltest.TestCase):
  def test_original(self):
    @jax.jit
    def loss(images, variables):
      embeddings = embed()(variables, images)
      return (
        identity.identity_loss(embeddings[:1], embeddings[1:])[0],
        embeddings,
      )

    (value, embeddings), slope = jax.value_and_grad(loss, has_aux=True)(
      images(), variables()
    )
    self.assertEqual(embeddings.dtype, jnp.float32)
    expected = golden.load("mobilefacenet")
    for key, actual, tolerance in (
      ("embedding", embeddings, golden.IMAGES),
      ("loss", value, golden.IMAGES),
      (
        "gradient",
        slope.transpose(0, 3, 1, 2)[..., ::4, ::4],
        golden.GRADIENTS,
      ),
    ):
      golden.assert_close(
        actual, expected[key], tolerance, f"mobilefacenet: {key}"
      )

  def test_released_weights(self):
    """The file itself, and the outputs that PyTorch gave for it."""
    if not _RELEASED.is_dir():
      self.skipTest(f"{_RELEASED} is not here")
    with tempfile.TemporaryDirectory() as folder:
      output = pathlib.Path(folder) / "face"
      found = arcface_to_flax.convert(
        str(_RELEASED / "mobilefacenet.pt"), str(output), log=lambda line: None
      )
      self.assertEqual(found, "mobilefacenet")
      network = identity.load_identity(output)
      wrapper, loaded = network.module, network.variables
    self.assertEqual(wrapper, identity.Identity("mobilefacenet"))
    with np.load(_RELEASED / "reference_io.npz") as file:
      reference = dict(file)
    # It was given what the wrapper makes of faces itself.
    standardised = golden.to_nhwc(reference["input_nchw"])
    network = identity.NETWORKS["mobilefacenet"]
    found = embed()(
      loaded, np.float32(standardised * network.deviation + network.mean)
    )
    expected = reference["output"] / np.linalg.norm(
      reference["output"], axis=-1, keepdims=True
    )
    # 2e-6 is what is measured.
    golden.assert_close(
      found, expected, golden.IMAGES, "mobilefacenet: released weights"
    )
    of_pixels = embed()(
      loaded, np.stack([reference["aligned_rgb_uint8"] / 127.5 - 1] * 4)
    )
    golden.assert_close(
      of_pixels[0], expected[0], golden.IMAGES, "mobilefacenet: a face's pixels"
    )


class PropertyTest(absltest.TestCase):
  def test_size(self):
    params, statistics = (
      sum(leaf.size for leaf in jax.tree.leaves(tree))
      for tree in map(variables().get, ("params", "batch_stats"))
    )
    # The published file has 51 counters more.
    self.assertEqual(params + statistics, 1_019_699 - 51)

  def test_batch_is_its_rows(self):
    rows = [embed()(variables(), images()[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(embed()(variables(), images()), rows, atol=1e-5)

  def test_unit_length(self):
    np.testing.assert_allclose(
      jnp.linalg.norm(embed()(variables(), images()), axis=-1), 1, rtol=1e-6
    )

  def test_bfloat16_is_near(self):
    half = embed("bfloat16")(variables(), images())
    self.assertEqual(half.dtype, jnp.float32)
    # 8 bits; 1e-2 is what is measured.
    self.assertLess(
      golden.relative_error(half, embed()(variables(), images())), 4e-2
    )

  def test_other_sizes_are_refused(self):
    with self.assertRaises(AssertionError):
      MobileFaceNet().apply(variables(), images()[:, :96, :96])
    with self.assertRaisesRegex(UserError, "^faces: "):
      embed()(variables(), images()[:, :96, :96])

  def test_traced_once(self):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(variables, x):
      return MobileFaceNet().apply(variables, x)

    run(variables(), images())
    run(variables(), -images())

  def test_frame_of_a_generator(self):
    """What lies outside it does not count; what is inside is the face."""
    whole = golden.draw("frame", (1, 100, 100, 3)).clip(-1, 1)
    run = jax.jit(identity.Identity("mobilefacenet").embed)
    inside = whole[:, 4:80, 12:88]
    found = run(variables(), whole)
    faces_of_it = np.repeat(identity.average_pool(inside, 112), 2, axis=0)
    np.testing.assert_allclose(
      found, embed()(variables(), faces_of_it)[:1], atol=1e-5
    )
    changed = np.zeros_like(whole)
    changed[:, 4:80, 12:88] = inside
    np.testing.assert_array_equal(run(variables(), changed), found)
    self.assertGreater(
      golden.relative_error(
        run(variables(), np.roll(whole, 20, axis=1)), found
      ),
      0.1,
    )


class RealFacesTest(absltest.TestCase):
  """`benchmarks.real_faces`, on few of the photos."""

  def test_people_are_apart(self):
    if not (_DATA / "albums").is_dir():
      self.skipTest(f"{_DATA / 'albums'} is not here")
    if importlib.util.find_spec("mediapipe") is None:
      self.skipTest('MediaPipe is not here (pip install ".[prepare]")')
    # pylint: disable=import-outside-toplevel
    from benchmarks import real_faces

    finder = real_faces.FaceFinder()
    network, loaded = real_faces.load_network(_DATA)
    embeddings = []
    for folder in sorted((_DATA / "albums").iterdir()):
      if folder.name.endswith("_hard"):
        continue
      paths = sorted(folder.iterdir())
      album = real_faces.read_album(
        folder.name, paths[:: -(-len(paths) // _MOST_PHOTOS)], finder
      )
      self.assertGreater(len(album.faces), 3)
      embeddings.append(real_faces.embed(network, loaded, album.faces))
    self.assertLen(embeddings, 3)
    same, different = real_faces.cosines(embeddings)
    self.assertGreater(real_faces.area_under_curve(same, different), 0.95)


class CurveTest(absltest.TestCase):
  """The arithmetic of that benchmark, where the answers are known."""

  def setUp(self):
    super().setUp()
    # pylint: disable-next=import-outside-toplevel
    from benchmarks import real_faces

    self.lib = real_faces

  def test_area(self):
    area = self.lib.area_under_curve
    low, high = np.array([0.0, 0.1]), np.array([0.5, 0.9])
    self.assertEqual(area(high, low), 1.0)
    self.assertEqual(area(low, high), 0.0)
    self.assertEqual(area(low, low), 0.5)
    self.assertEqual(
      area(np.array([0.3]), np.array([0.1, 0.2, 0.3, 0.4])), 2.5 / 4
    )

  def test_pairs(self):
    east, north = np.eye(2)
    same, different = self.lib.cosines(
      [np.stack([east, east, north]), north[None]]
    )
    np.testing.assert_array_equal(np.sort(same), [0, 0, 1])
    np.testing.assert_array_equal(np.sort(different), [0, 0, 1])


if __name__ == "__main__":
  absltest.main()
