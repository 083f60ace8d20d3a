"""Anchors: one latent for every photo of an album, found once and cached."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config import ProjectionConfig
from my3dgen_jax.data.album import Album
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.storage.array_files import read_npz
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import projection
from my3dgen_jax.training.encoding import looking
from my3dgen_jax.training.photo_fits import PhotoFits, Targets
from my3dgen_jax.types import Array, Network

# Device memory per pixel of a photo during projection, generator and LPIPS
# included: 0.89 GB per 512 x 512 photo (`benchmarks.compile_cost`), rounded up.
_BYTES_A_PIXEL = 4500


def default_cache() -> str:
  """The default folder of cached anchors."""
  return os.path.join(
    os.environ.get("XDG_CACHE_HOME") or "~/.cache", "my3dgen_jax", "anchors"
  )


@flax.struct.dataclass
class Anchors:
  """Latents of photos.

  Attributes:
    names: names of the photos.
    ws: [N, num_ws, w_dim] float32.
    c: [N, 25] float32, their camera labels.
  """

  names: tuple[str, ...] = flax.struct.field(pytree_node=False)
  ws: Array
  c: Array

  def of(self, names: Sequence[str]) -> "Anchors":
    """The anchors of some photos, in the order of `names`.

    Raises: UserError: a photo has none.
    """
    places = {name: i for i, name in enumerate(self.names)}
    for name in names:
      if name not in places:
        raise UserError(f"anchors: there is no anchor for {name!r}")
    rows = [places[name] for name in names]
    return Anchors(tuple(names), self.ws[rows], self.c[rows])

  def save(self, path: str | os.PathLike):
    """Writes them as one `.npz`, atomically; raises OSError."""
    with replacing(path) as file:
      np.savez(
        file,
        names=np.array(self.names, np.str_),
        ws=np.asarray(self.ws, np.float32),
        c=np.asarray(self.c, np.float32),
      )

  @classmethod
  def load(cls, path: str | os.PathLike) -> "Anchors":
    """Reads what `save` wrote; raises CheckpointError naming the file."""
    arrays = read_npz(path)
    try:
      names, ws, c = (arrays[name] for name in ("names", "ws", "c"))
      if not (
        ws.ndim == 3
        and len(names) == len(ws) == len(c)
        and np.isfinite(ws).all()
      ):
        raise KeyError
    except (KeyError, TypeError):
      raise CheckpointError(f"{path}: is not a file of anchors") from None
    return cls(
      tuple(map(str, names)), ws.astype(np.float32), c.astype(np.float32)
    )


@dataclasses.dataclass(kw_only=True)
class AnchorFinder(PhotoFits):
  """Projects the photos of albums, and caches the results.

  Attributes:
    config: the projection's config.
    generator: the frozen network.
    fingerprint: text that identifies the generator's weights, e.g. a
      checkpoint's digest.
    lpips: the network that compares images.
    lpips_fingerprint: text that identifies LPIPS's weights.
    encoder: a Network for the initial latents if the config wants one; or None.
    encoder_fingerprint: text that identifies the encoder's weights.
    flags: prefix of the flags of `config`, for messages.
    again: how to resume after a stop, for messages.
  """

  config: ProjectionConfig
  generator: Network
  fingerprint: str
  lpips: Network | None
  lpips_fingerprint: str
  encoder: Any = None
  encoder_fingerprint: str = ""
  flags: str = "anchor_"
  again: str = "the same command with --resume continues"

  def find(
    self, album: Album, stop: StopRequest, *, title: str = "anchors"
  ) -> Anchors:
    """The anchors of an album: given, cached and newly found ones.

    Args:
      album: its photos may bring their own latents.
      stop: checked every few steps.
      title: title of the progress.

    Returns: Anchors, in the album's order.
    Raises: as `PhotoFits.fit`.
    """
    model = self.generator.module.config
    ws = [photo.ws for photo in album.photos]
    wanted = [i for i, given in enumerate(ws) if given is None]
    if not self._encodes:
      self.config.without_encoder(self.flags)
    elif wanted and self.encoder is None:
      raise UserError(
        f"{self.flags}init: encoder needs a trained encoder; train one with "
        "my3dgen train-encoder"
      )
    if wanted and self.lpips is None and self.steps:
      raise UserError(
        f"{album.place}: projection compares images by LPIPS; "
        "provide it, or give every photo its _latent.npy"
      )
    # If any photo has a mask, all go through the program that takes masks.
    masked = any(photo.mask is not None for photo in album.photos)
    if wanted and self.steps:
      projection.check_sizes(
        self.config,
        model.img_resolution,
        getattr(self.lpips.module, "backbone", None),
        self.flags,
      )

    def fetch(rows: list[int]) -> Targets:
      batch = album.batch([wanted[i] for i in rows])
      return Targets(batch.image, batch.c, None, batch.mask if masked else None)

    found = self.fit(
      album.place, [album.names[i] for i in wanted], fetch, stop, title=title
    )
    for i, one in zip(wanted, found):
      ws[i] = one["w"]
    return Anchors(
      album.names,
      np.stack(
        [np.broadcast_to(one, (model.num_ws, model.w_dim)) for one in ws]
      ).astype(np.float32),
      album.c,
    )

  @property
  def batch_size(self) -> int:
    if self.config.batch_size:
      return self.config.batch_size
    pixels = self.generator.module.config.img_resolution**2
    return devices_lib.photos_that_fit(self.devices, _BYTES_A_PIXEL * pixels)

  @property
  def seed(self) -> int:
    return self.config.seed

  @property
  def advice(self) -> str:
    return f"try a lower --{self.flags}learning_rate, or leave the photo out"

  def settings(self) -> dict[str, Any]:
    settings = super().settings()
    if self._encodes:
      # The noise settings matter only for steps that start from the mean of W.
      unused = ("w_samples", "w_noise", "w_noise_ramp")
      if not self.steps:  # nothing is compared either
        unused = tuple(set(settings) - {"space", "init", "looks"})
      for name in unused:
        settings.pop(name, None)
    return settings

  def description(self) -> Any:
    described = [
      self.settings(),
      self.generator.module.config.to_dict(),
      self.fingerprint,
      self.lpips.module.dtype if self.steps else None,
      self.lpips_fingerprint if self.steps else "",
    ]
    return described + [self.encoder_fingerprint] * self._encodes

  def init(self, targets: Targets) -> Any:
    if not self._encodes:
      return self._projector.init(
        self.generator, self._statistics, photos=targets.image.shape[0]
      )
    found = looking.encode_photos(
      self.encoder,
      self.generator,
      targets.image,
      targets.c,
      targets.mask,
      looks=self.config.looks,
    )
    return self._projector.state(self.generator, found.ws)

  def step(self, targets: Any, state: Any) -> tuple[Any, jax.Array]:
    return self._projector.step(
      *self._networks, targets, state, self._spread_statistics
    )

  def result(self, state: Any) -> dict[str, Any]:
    return {"w": state.w}

  @property
  def _encodes(self) -> bool:
    return self.config.init == "encoder"

  # Made once, and only if a photo needs it.

  @functools.cached_property
  def _projector(self) -> projection.Projector:
    return projection.projector(self.config.validate(), tuple(self.devices))

  @functools.cached_property
  def _networks(self) -> tuple[Any, Any]:
    return devices_lib.replicate((self.generator, self.lpips), self.devices)

  @functools.cached_property
  def _statistics(self) -> projection.WStatistics:
    if self._encodes:  # its steps need no noise
      mean = self.encoder.variables["buffers"]["mean"]
      return projection.WStatistics(mean, jnp.zeros(()))
    return projection.w_statistics(
      jax.random.key(self.config.seed),
      self.generator,
      count=self.config.w_samples,
    )

  @functools.cached_property
  def _spread_statistics(self) -> projection.WStatistics:
    return devices_lib.replicate(self._statistics, self.devices)
