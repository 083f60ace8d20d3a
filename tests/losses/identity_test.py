"""Identity: pooling, cosines, the registry, and its files."""

import os
import pathlib
import tempfile
from unittest import mock

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.losses.identity import (
  abstract_variables,
  average_pool,
  Identity,
  identity_loss,
  load_identity,
  Network,
  NETWORKS,
  save_identity,
  similarity,
  WEIGHTS_FILE,
)
from tests.support import faces, golden


def mean_of_windows(x, side):
  """Adaptive average pooling as torch documents it, window by window."""

  def windows(size):
    return [
      slice(i * size // side, -(-(i + 1) * size // side)) for i in range(side)
    ]

  return np.stack(
    [
      np.stack(
        [
          x[:, rows, columns].mean(axis=(1, 2))
          for columns in windows(x.shape[2])
        ],
        axis=1,
      )
      for rows in windows(x.shape[1])
    ],
    axis=1,
  )


class _Means(nn.Module):
  """The smallest network that a registry entry can be."""

  dtype: jnp.dtype = jnp.float32
  precision: str = "highest"

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, (3,))
    return jnp.mean(x, axis=(1, 2)) * scale


MEANS = Network("Means", _Means, 8)


class PoolingTest(parameterized.TestCase):
  @parameterized.parameters(224, 112, 100, 113, 56, 17, 1)
  def test_windows(self, size):
    x = golden.draw("pool", (1, size, size, 2))
    actual = average_pool(x, 112)
    np.testing.assert_allclose(actual, mean_of_windows(x, 112), atol=2e-6)

  def test_exact_where_nothing_changes(self):
    x = golden.draw("pool", (1, 112, 112, 3))
    np.testing.assert_array_equal(average_pool(x, 112), x)

  def test_means_are_kept(self):
    np.testing.assert_allclose(
      average_pool(np.full((1, 512, 512, 1), 0.3), 112), 0.3, rtol=1e-6
    )


class CosineTest(absltest.TestCase):
  def rows(self):
    return golden.draw("rows", (2, 4, 512))

  def test_cosine(self):
    x, y = self.rows()
    expected = (
      (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
    )
    np.testing.assert_allclose(similarity(x, y), expected, atol=1e-6)
    np.testing.assert_allclose(identity_loss(x, y), 1 - expected, atol=1e-6)

  def test_ends(self):
    x, _ = self.rows()
    np.testing.assert_array_equal(identity_loss(x, x), 0)
    np.testing.assert_allclose(identity_loss(x, -3 * x), 2, rtol=1e-6)

  def test_one_for_all(self):
    x, y = self.rows()
    np.testing.assert_allclose(
      similarity(x, y[:1]),
      similarity(x, np.repeat(y[:1], 4, axis=0)),
      rtol=1e-6,
    )

  def test_gradient_is_finite(self):
    x, y = self.rows()
    for first in (x, y, np.zeros_like(x)):
      slope = jax.grad(lambda x: identity_loss(x, y).sum())(jnp.asarray(first))
      self.assertTrue(np.isfinite(slope).all())

  def test_refused(self):
    x, y = self.rows()
    for name, arguments in (
      ("x", (x[0], y)),
      ("y", (x, y[:, :9])),
      ("y", (x, y[:2])),
      ("y", (x, y * np.nan)),
    ):
      with self.assertRaisesRegex(UserError, f"^{name}: "):
        identity_loss(*arguments)


@mock.patch.dict(NETWORKS, {"means": MEANS})
class RegistryTest(parameterized.TestCase):
  def test_another_network_is_an_entry(self):
    images = golden.draw("images", (2, 20, 20, 3))
    variables = {"params": {"scale": np.full(3, 2, np.float32)}}
    embeddings = jax.jit(Identity("means").embed)(variables, images)
    np.testing.assert_allclose(
      embeddings, 2 * mean_of_windows(images, 8).mean(axis=(1, 2)), rtol=1e-5
    )
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "means"
      save_identity(path, "means", variables)
      network = load_identity(path)
      wrapper, loaded = network.module, network.variables
    self.assertEqual(wrapper, Identity("means"))
    chex.assert_trees_all_equal(loaded, variables)

  def test_frame_and_colors(self):
    """What a network wants of an image is part of its entry."""
    entry = Network(
      "Means",
      _Means,
      8,
      frame=(0.1, 0.3, 0.4),
      mean=(0.1, 0.2, 0.3),
      deviation=(1.0, 2.0, 4.0),
    )
    images = golden.draw("images", (2, 20, 20, 3))
    variables = {"params": {"scale": np.ones(3, np.float32)}}
    inside = images[:, 2:10, 6:14]
    expected = (inside.mean(axis=(1, 2)) - entry.mean) / entry.deviation
    with mock.patch.dict(NETWORKS, {"means": entry}):
      np.testing.assert_allclose(
        jax.jit(Identity("means").embed)(variables, images),
        expected,
        rtol=1e-5,
        atol=1e-6,
      )
      np.testing.assert_allclose(
        jax.jit(Identity("means").embed_faces)(variables, inside),
        expected,
        rtol=1e-5,
        atol=1e-6,
      )
      with self.assertRaisesRegex(UserError, "^faces: "):
        Identity("means").embed_faces(variables, images)

  def test_options(self):
    for name in ("network", "dtype", "precision"):
      with self.assertRaisesRegex(UserError, f"^{name}: expected one of "):
        Identity(**{name: "resnet"})

  @parameterized.named_parameters(
    ("rank", lambda x: x[0]),
    ("channels", lambda x: x[..., :1]),
    ("not_square", lambda x: x[:, :10]),
    ("nan", lambda x: x * np.nan),
  )
  def test_images(self, change):
    images = golden.draw("images", (2, 20, 20, 3))
    with self.assertRaisesRegex(UserError, "^images: "):
      Identity("means").embed({"params": {"scale": np.ones(3)}}, change(images))

  def test_ir_se50(self):
    """43.8 million parameters, without their memory."""
    sizes = {
      name: sum(leaf.size for leaf in jax.tree.leaves(tree))
      for name, tree in abstract_variables("ir_se50").items()
    }
    shapes = golden.shapes("ir_se50")
    statistics = sum(
      int(np.prod(shape)) for name, shape in shapes.items() if "running" in name
    )
    self.assertEqual(sizes["batch_stats"], statistics)
    self.assertEqual(sizes["params"], 43_797_696)


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enterContext(mock.patch.dict(NETWORKS, {"ir_se50": faces.TINY}))
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.parent = pathlib.Path(folder.name)
    self.folder = self.parent / "face"
    self.weights = self.folder / WEIGHTS_FILE
    self.variables = faces.variables(faces.tiny_state_dict())

  def save(self, **options):
    save_identity(self.folder, "ir_se50", self.variables, **options)

  def assert_refused(self, reason, path=None, call=None):
    with self.assertRaisesRegex(CheckpointError, reason) as caught:
      (call or (lambda: load_identity(self.folder)))()
    self.assertStartsWith(str(caught.exception), str(path or self.weights))
    self.assertNotIn("\n", str(caught.exception))

  def rewrite(self, *, metadata=None, **changes):
    """Saves the file again with something else in it."""
    with safetensors.safe_open(self.weights, "numpy") as file:
      kept = {**file.metadata(), **(metadata or {})}
      arrays = {name: file.get_tensor(name) for name in file.keys()}
    arrays.update(changes)
    self.weights.write_bytes(
      safetensors.numpy.save(
        {name: array for name, array in arrays.items() if array is not None},
        kept,
      )
    )

  def test_round_trip(self):
    self.save(source={"file": "model_ir_se50.pth"})
    network = load_identity(self.folder, dtype="bfloat16")
    wrapper, loaded = network.module, network.variables
    self.assertEqual(wrapper, Identity("ir_se50", dtype="bfloat16"))
    chex.assert_trees_all_equal(loaded, self.variables)
    self.assertEqual(os.listdir(self.folder), [WEIGHTS_FILE])

  def test_existing_folder_is_kept_unless_told(self):
    self.save()
    with self.assertRaises(FileExistsError):
      self.save()
    self.save(overwrite=True)
    (self.folder / "thesis.tex").write_text("")
    self.assert_refused(
      "contains thesis.tex besides",
      self.folder,
      lambda: self.save(overwrite=True),
    )
    self.weights.unlink()
    self.assert_refused(
      "not a folder with identity weights",
      self.folder,
      lambda: self.save(overwrite=True),
    )

  def test_missing_or_damaged(self):
    self.assert_refused(
      "no such folder; expected a folder that converters/arcface_to_flax.py",
      self.folder,
    )
    self.save()
    data = bytearray(self.weights.read_bytes())
    data[-1000] ^= 1
    self.weights.write_bytes(data)
    self.assert_refused("not what was saved")
    self.weights.write_bytes(b"<html>")
    self.assert_refused("damaged, or not a safetensors file")

  @parameterized.named_parameters(
    ("kind", {"metadata": {"kind": "lpips"}}, "does not hold identity"),
    ("network", {"metadata": {"network": "resnet"}}, "field 'network'"),
    ("fewer", {"params/linear/bias": None}, "linear/bias is missing"),
    (
      "statistics",
      {"batch_stats/input_norm/var": None},
      "input_norm/var is missing",
    ),
    ("more", {"params/lin5": np.zeros(2)}, "lin5 is not part"),
    (
      "shape",
      {"params/linear/bias": np.zeros(2, np.float32)},
      r"linear/bias is float32 \[2\]",
    ),
  )
  def test_another_file(self, changes, reason):
    self.save()
    self.rewrite(**changes)
    self.assert_refused(reason)


if __name__ == "__main__":
  absltest.main()
