"""Public functions for cameras and camera labels."""

from my3dgen_jax.ops.cameras import (
  check_label,
  FACE_FOCAL,
  intrinsics_from_focal,
  intrinsics_from_fov,
  label,
  LABEL_SIZE,
  look_at,
  mirror,
  pack_label,
  unpack_label,
)

__all__ = [
  "FACE_FOCAL",
  "LABEL_SIZE",
  "check_label",
  "intrinsics_from_focal",
  "intrinsics_from_fov",
  "label",
  "look_at",
  "mirror",
  "pack_label",
  "unpack_label",
]
