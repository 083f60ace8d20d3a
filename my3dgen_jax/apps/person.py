"""A loaded person: what every application starts from."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax import latents
from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps import strangers
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import lpips as lpips_lib
from my3dgen_jax.models.checkpoint import (
  generator_digest,
  load_generator,
  weights_digest,
)
from my3dgen_jax.models.encoder_files import (
  ENCODER_FILE,
  EncoderFile,
  load_encoder,
  place_beside,
  read_facts,
)
from my3dgen_jax.storage.shareable import without_paths
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.run_folder import ID_LENGTH
from my3dgen_jax.types import Network

Path = str | os.PathLike


@dataclasses.dataclass(frozen=True)
class Person:
  """A generator with what is known of the person it shows.

  Attributes:
    name: name of the run or checkpoint, for messages.
    generator: the person's own with the adapter merged, or the bare base.
    digest: text that differs for different weights.
    origin: what its pictures say made them, see `made`.
    anchors: anchors of the training photos, or None. Those of held-out photos
      are not part of the hull: they would give away what is searched for.
    devices: the devices to use.
    lpips: the LPIPS network, or None, e.g. if the run's folder of it is gone.
    lpips_digest: digest of LPIPS's weights, or "".
    photos: the run's photos: part, names, digests.
    identity: the identity network, or None.
    settings: the run's settings; empty for a bare base.
    is_demo: whether the base is the demo's, which knows no real people.
    find_encoder: loads the base's encoder, or returns None; called when needed.
  """

  name: str
  generator: Network
  digest: str
  origin: Origin
  anchors: Anchors | None
  devices: tuple[jax.Device, ...]
  lpips: Network | None = None
  lpips_digest: str = ""
  photos: Mapping[str, Mapping[str, str]] = dataclasses.field(
    default_factory=dict
  )
  identity: Network | None = None
  settings: dict[str, Any] = dataclasses.field(default_factory=dict)
  is_demo: bool = False
  find_encoder: Callable[[], EncoderFile | None] = lambda: None

  @property
  def encoder(self) -> Network | None:
    """The encoder of the base; None: there is none."""
    found = self.find_encoder()
    return found and found.network

  @property
  def encoder_digest(self) -> str:
    """Digest of the encoder's weights; "" if there is none."""
    found = self.find_encoder()
    return found.digest if found else ""

  def warnings(self, album: Album) -> list[str]:
    """Warnings about photos before working on them, see `strangers`."""
    return strangers.warnings(
      album, is_demo_prior=self.is_demo, networks=(self.lpips, self.identity)
    )

  def with_dtype(self, dtype: str | None) -> "Person":
    """The person, with a generator whose activations have this type.

    Args:
      dtype: "float32" or "bfloat16"; None: the generator's own.
    """
    module = self.generator.module
    return dataclasses.replace(
      self,
      generator=self.generator.replace(
        module=module.clone(
          config=dataclasses.replace(
            module.config, dtype=dtype or module.config.dtype
          )
        )
      ),
    )

  def hull(self, beta: float) -> latents.Hull:
    """The personal hull; raises UserError if there are no anchors."""
    if self.anchors is None:
      raise UserError(
        f"{self.name}: a bare checkpoint or a lone adapter has no anchors, "
        "which the personal hull needs; give a run with --run, or "
        "add the run to the bank"
      )
    return latents.Hull.of(self.anchors.ws, beta)

  def hull_fingerprint(self) -> str:
    """Text that differs for different weights or anchors."""
    digest = hashlib.sha256(self.digest.encode())
    digest.update(np.ascontiguousarray(self.anchors.ws))
    return digest.hexdigest()

  def need_lpips(self) -> Network:
    """LPIPS; raises UserError if there is none."""
    if self.lpips is None and self.settings.get("lpips"):
      raise UserError(self._moved("lpips"))
    if self.lpips is None:
      raise UserError(
        f"{self.name}: comparing images needs LPIPS; give the "
        "folder of its weights with --lpips"
      )
    return self.lpips

  def starting(self, config: Any, space: str | None = None) -> Any:
    """Settings of a search, with its start filled in.

    Args:
      config: settings with a field `init`; None: not chosen.
      space: "w" or "w+", the encoder's output; None: either.

    Raises: UserError: an encoder is requested, and there is none.
    """
    encoder = None if config.init == "mean" else self.encoder
    fits = encoder is not None and space in (None, encoder.module.config.space)
    if config.init == "encoder" and not fits:
      raise UserError(
        f"{self.name}: there is no encoder for its base"
        + (f" to {space}" if space else "")
        + "; give one with --encoder, or train one with my3dgen train-encoder"
      )
    return dataclasses.replace(config, init="encoder" if fits else None)

  def made(self, task: str, **details: Any) -> Origin:
    """The origin of a picture that a task makes."""
    return dataclasses.replace(
      self.origin,
      task=task,
      details=tuple(
        (name, without_paths(str(value))) for name, value in details.items()
      ),
    )

  def photos_of(self, part: str) -> Album:
    """The run's photos of a part, by their recorded names.

    Args:
      part: "train", "test" or "reference"; it may be empty.

    Raises: AlbumError, UserError: the album has moved, or a photo has changed.
    """
    model = self.generator.module.config
    album = open_album(
      self.settings["album"],
      img_resolution=model.img_resolution,
      num_ws=model.num_ws,
      w_dim=model.w_dim,
      min_photos=1,
      convention=self.settings.get("camera_convention") or "",
    )
    names = self.photos[part]
    found = album.select(list(names)) if names else album.subset([])
    for i, name in enumerate(found.names):
      if found.digest(i) != names[name]:
        raise UserError(
          f"{album.place}: {name} has changed since "
          f"{self.name} was made; restore "
          "it, or personalize again"
        )
    return found

  def reference(self) -> Album | None:
    """The photos to compare identity with.

    None if the run has none, or if they or the network are gone, with a
    warning.
    """
    if "reference" not in self.photos or (
      self.identity is None and not self.settings.get("identity")
    ):
      return None
    try:
      if self.identity is None:
        raise UserError(self._moved("identity"))
      return self.photos_of("reference")
    except UserError as error:
      print(f"warning: no identity scores: {error}", file=sys.stderr)
      return None

  def _moved(self, network: str) -> str:
    """Says where the run's weights of a network were."""
    return (
      f"{self.settings[network]}: the folder of weights that "
      f"{self.name} was made with is gone; give its place with --{network}"
    )


def load_person(
  *,
  run: Path | None = None,
  checkpoint: Path | None = None,
  bank: Path | None = None,
  person: str | None = None,
  pretrained: bool = False,
  lpips: Path | None = None,
  identity: Path | None = None,
  encoder: Path | None = None,
  devices: Sequence[jax.Device] = (),
  precision: str | None = None,
) -> Person:
  """Loads a run, a person of a bank, or a bare base.

  Args:
    run: run folder of `apps.personalize`.
    checkpoint: current folder of the run's or bank's base, or a bare base.
    bank: folder of a `lora.Bank`; needs `checkpoint` and `person`.
    person: the person's id in the bank.
    pretrained: whether to use the base instead of the person's generator, with
      the person's anchors.
    lpips: folder of LPIPS's weights; None: the run's if it is still there, see
      `Person.need_lpips`.
    identity: folder of the identity network; None: the run's if it is still
      there, see `Person.reference`.
    encoder: encoder folder of `train_encoder`; None: the run's, or the one
      beside the base, if it belongs to it; "": none.
    devices: the devices to use; none: all.
    precision: precision of products, see `GeneratorConfig`; None: that of the
      run or base.

  Raises: UserError, CheckpointError: name the file or what is missing.
  """
  if run is None and checkpoint is None:
    raise UserError(
      "give the bank's base with --checkpoint"
      if bank is not None
      else "give a run with --run, or a bare base with --checkpoint"
    )
  settings: dict[str, Any] = {}
  photos: Mapping[str, Mapping[str, str]] = {}
  if bank is not None:
    (name, generator, base_id, digest, adapter, anchors) = _of_bank(
      bank, str(person), str(checkpoint), pretrained=pretrained
    )
  elif run is None:
    base_id = generator_digest(checkpoint)
    module, variables = load_generator(checkpoint)
    generator = Network(variables, module)
    name, digest, adapter, anchors = str(checkpoint), base_id, "none", None
  else:
    folder = pathlib.Path(run).expanduser()
    loaded = run_folder.load_run(folder, checkpoint=checkpoint)
    settings = loaded.config["settings"]
    base_id = loaded.config[run_folder.BASE_DIGEST]
    name = str(folder)
    photos = loaded.config["photos"]
    anchors = loaded.anchors.of(tuple(photos["train"]))
    generator, digest, adapter = loaded.base, base_id, "none"
    if not pretrained and loaded.generator is not loaded.base:
      generator, adapter = _merged(loaded)
      digest = weights_digest(generator.variables)
  if precision:
    generator = generator.replace(
      module=generator.module.clone(
        config=dataclasses.replace(generator.module.config, precision=precision)
      )
    )
  numbers = {
    name: getattr(generator.module.config, name)
    for name in ("dtype", "precision")
  }
  lpips = lpips or _if_there(settings.get("lpips"))
  identity = identity or _if_there(settings.get("identity"))
  find_encoder = functools.cache(
    functools.partial(
      _encoder,
      encoder,
      (
        settings.get("encoder"),
        place_beside(checkpoint or settings["checkpoint"]),
      ),
      base_id,
    )
  )
  if encoder:  # what is requested must be there, even if unused
    find_encoder()
  return Person(
    name=name,
    generator=generator,
    digest=digest,
    origin=Origin(adapter=adapter, base=base_id[:ID_LENGTH], task="load"),
    anchors=anchors,
    devices=tuple(devices) or tuple(jax.local_devices()),
    lpips=lpips and lpips_lib.load_lpips(lpips, **numbers),
    lpips_digest=lpips
    and run_folder.file_digest(
      pathlib.Path(lpips).expanduser() / lpips_lib.WEIGHTS_FILE
    )
    or "",
    identity=identity and identity_lib.load_identity(identity),
    settings=settings,
    photos=photos,
    is_demo=strangers.is_demo(checkpoint or settings["checkpoint"]),
    find_encoder=find_encoder,
  )


def _encoder(
  given: Path | None, places: Sequence[Path | None], base: str
) -> EncoderFile | None:
  """The given encoder, or the first existing one that fits."""
  if given:
    found = load_encoder(given)
    if found.base_digest != base:
      raise CheckpointError(
        f"{given}: was trained for the generator "
        f"{found.base_digest[:ID_LENGTH]}, this is {base[:ID_LENGTH]}; give "
        "another --encoder, or train one with my3dgen train-encoder"
      )
    return found
  for place in () if given == "" else filter(None, places):
    if (pathlib.Path(place) / ENCODER_FILE).is_file():
      if read_facts(place).base_digest == base:
        return load_encoder(place)
  return None


def _of_bank(
  bank: Path, person: str, checkpoint: str, *, pretrained: bool
) -> tuple[str, Network, str, str, str, Anchors | None]:
  """Name, generator, ids of base, weights and adapter, and anchors."""
  opened = lora_lib.Bank(bank)
  base_id = generator_digest(checkpoint)
  if opened.base != base_id:
    raise CheckpointError(
      f"{opened.folder}: is a bank for the base {opened.base[:ID_LENGTH]}, "
      f"{checkpoint} is {base_id[:ID_LENGTH]}; give the bank's with --checkpoint"
    )
  found = opened.read(person, check=True)
  photos = opened.photos(person)
  module, variables = load_generator(checkpoint)
  lora_lib.check_fits(
    f"{opened.folder}: {person!r}", found.lora, module.config, found.config
  )
  digest, adapter = base_id, "none"
  if not pretrained:
    variables = lora_lib.merge_into_params(variables, found.lora, found.config)
    digest = weights_digest(variables)
    adapter = lora_lib.fingerprint(found.lora)[:ID_LENGTH]
  return (
    f"{opened.folder}: {person}",
    Network(variables, module),
    base_id,
    digest,
    adapter,
    None if photos is None else Anchors(*photos),
  )


def _if_there(folder: str | None) -> str | None:
  """A folder; None if it has moved: not every task uses it."""
  there = folder and os.path.isdir(os.path.expanduser(folder))
  return folder if there else None


def _merged(loaded: run_folder.Run) -> tuple[Network, str]:
  """The person's generator with merged weights, so that it runs like the base.

  Returns: the generator, and the id of its difference from the base.
  """
  if loaded.lora_config is None:
    return loaded.generator, weights_digest(loaded.generator.variables)[
      :ID_LENGTH
    ]
  base, adapter = lora_lib.split_collections(loaded.generator.variables)
  variables = lora_lib.merge_into_params(base, adapter, loaded.lora_config)
  return (
    Network(variables, loaded.base.module),
    lora_lib.fingerprint(adapter)[:ID_LENGTH],
  )
