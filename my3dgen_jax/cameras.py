"""Cameras and labels, under the name that users import."""

from my3dgen_jax.ops.cameras import (
  check_label,
  intrinsics_from_focal,
  intrinsics_from_fov,
  LABEL_SIZE,
  look_at,
  mirror,
  pack_label,
  unpack_label,
)

__all__ = [
  "LABEL_SIZE",
  "check_label",
  "intrinsics_from_focal",
  "intrinsics_from_fov",
  "look_at",
  "mirror",
  "pack_label",
  "unpack_label",
]
