"""Normals of depth images against those of exact surfaces."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import normals, rays

RADIUS = 0.3  # of the sphere at the origin

normals_from_depth = jax.jit(normals.normals_from_depth)


def camera(yaw=0.0, pitch=0.0, focal=4.2647):
  return np.asarray(
    cameras.pack_label(
      cameras.look_at(yaw, pitch, radius=2.7),
      cameras.intrinsics_from_focal(focal),
    )
  )[None]


def to_camera(c, vectors):
  """World vectors in the axes x right, y up, z towards the viewer."""
  rotation = c[0, :16].reshape(4, 4)[:3, :3]
  return vectors @ rotation * [1, -1, -1]


def sphere(c, size):
  """Depth of a sphere before a wall; normals in the camera's axes; mask."""
  found = rays.generate_rays(*cameras.unpack_label(c), size)
  origin, direction = (
    np.asarray(a[0], np.float64) for a in (found.origins, found.directions)
  )
  along = -(origin * direction).sum(axis=-1)
  square = along**2 - (origin**2).sum(axis=-1) + RADIUS**2
  hit = square > 0
  depth = np.where(hit, along - np.sqrt(np.maximum(square, 0)), 3.3)
  normal = to_camera(c, (origin + depth[:, None] * direction) / RADIUS)
  return (
    depth.reshape(1, size, size, 1).astype(np.float32),
    normal.reshape(size, size, 3),
    hit.reshape(size, size),
  )


def degrees(a, b):
  return np.degrees(np.arccos(np.clip((a * b).sum(axis=-1), -1, 1)))


class NormalsTest(parameterized.TestCase):
  @parameterized.parameters((0.0, 0.0), (0.5, 0.0), (-0.4, 0.3))
  def test_sphere(self, yaw, pitch):
    c = camera(yaw, pitch)
    depth, exact, hit = sphere(c, 128)
    found = np.asarray(normals_from_depth(depth, c))[0]
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
    error = degrees(found, exact)
    facing = hit & (exact[..., 2] > 0.5)
    # A pixel spans 1 to 2 degrees of the sphere there.
    self.assertLess(error[facing].max(), 0.3)
    # Up to the silhouette, where pixels see the sphere at a grazing angle,
    # and the wall behind must not be taken for it.
    self.assertLess(np.percentile(error[hit], 99), 10)
    self.assertGreater(hit.mean(), 0.15)

  def test_axes_of_the_picture(self):
    """Right of the middle it faces right, above up, in front the viewer."""
    c = camera(0.3, -0.2)
    found = np.asarray(normals_from_depth(sphere(c, 64)[0], c))[0]
    np.testing.assert_allclose(
      found[31:33, 31:33].mean(axis=(0, 1)), [0, 0, 1], atol=0.01
    )
    self.assertGreater(found[32, 42, 0], 0.25)
    self.assertLess(found[32, 21, 0], -0.25)
    self.assertGreater(found[21, 32, 1], 0.25)
    self.assertLess(found[42, 32, 1], -0.25)

  def test_plane_is_exact(self):
    c = camera()
    found = rays.generate_rays(*cameras.unpack_label(c), 16)
    normal = np.array([0.48, -0.36, 0.8])  # world, 0.1 before the origin
    origin, direction = (
      np.asarray(a[0], np.float64) for a in (found.origins, found.directions)
    )
    depth = (0.1 - origin @ normal) / (direction @ normal)
    shown = normals_from_depth(
      depth.reshape(1, 16, 16, 1).astype(np.float32), c
    )[0]
    # Seen from the front camera and the world's axes are the same. float32
    # depths of 2.7 round by 1e-7, a pixel's step is 0.04.
    np.testing.assert_allclose(
      shown, np.broadcast_to(normal, (16, 16, 3)), atol=2e-4
    )

  def test_steps_do_not_bleed(self):
    """Two walls, each flat up to the edge between them."""
    depth = np.full((1, 8, 8, 1), 2.5, np.float32)
    c = camera(focal=400.0)  # rays that hardly spread
    flat = np.asarray(normals_from_depth(depth, c))
    depth[:, :, 4:] = 3.0
    stepped = np.asarray(normals_from_depth(depth, c))
    np.testing.assert_allclose(stepped, flat, atol=1e-2)
    np.testing.assert_allclose(
      flat, np.broadcast_to([0, 0, 1.0], flat.shape), atol=1e-2
    )

  def test_one_camera_a_image(self):
    cs = np.concatenate([camera(), camera(0.4, focal=3.0)])
    depths = np.concatenate([sphere(c[None], 16)[0] for c in cs])
    both = normals_from_depth(depths, cs)
    for i in range(2):
      np.testing.assert_allclose(
        both[i],
        normals_from_depth(depths[i : i + 1], cs[i : i + 1])[0],
        atol=1e-6,
      )
    self.assertGreater(np.abs(both[0] - both[1]).max(), 1e-4)

  @parameterized.parameters((1, 8, 8), (1, 8, 4, 1), (1, 8, 8, 2), (1, 1, 1, 1))
  def test_bad_shapes(self, *shape):
    with self.assertRaisesRegex(UserError, "depth: expected"):
      normals_from_depth(np.ones(shape, np.float32), camera())


if __name__ == "__main__":
  absltest.main()
