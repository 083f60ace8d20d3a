"""A person ready to be worked with: what every application begins with."""

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
  """A generator with what is known of whom it shows.

  Attributes:
    name: of the run or the checkpoint, for messages.
    generator: the person's own with the adapter merged, or the bare base.
    digest: another text for other weights of it.
    origin: what its pictures say made them, see `made`.
    anchors: of the photos that tuning has seen, or None. Those of held-out
      photos are no part of the hull: they would give away what is looked for.
    devices: that are used.
    lpips: or None, as where the run's folder of it is not there any more.
    lpips_digest: of its weights, or "".
    photos: of the run: part, names, digests.
    identity: or None, likewise.
    settings: of the run; empty for a bare base.
    is_demo: the demo has trained the base, which knows nobody real.
    find_encoder: reads that of the base, or says None; not every task asks.
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
    """Of the encoder's numbers; "" where there is none."""
    found = self.find_encoder()
    return found.digest if found else ""

  def warnings(self, album: Album) -> list[str]:
    """What is to be said of photos before working on them, see `strangers`."""
    return strangers.warnings(
      album, is_demo_prior=self.is_demo, networks=(self.lpips, self.identity)
    )

  def with_dtype(self, dtype: str | None) -> "Person":
    """The same with a generator whose activations have this type.

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
    """The personal hull; raises UserError where there are no anchors."""
    if self.anchors is None:
      raise UserError(
        f"{self.name}: a bare checkpoint has no anchors, nor has an adapter "
        "alone, and the personal hull is made of them; give a run by --run, or "
        "add the run to the bank"
      )
    return latents.Hull.of(self.anchors.ws, beta)

  def hull_fingerprint(self) -> str:
    """Text that is another for other weights or other anchors."""
    digest = hashlib.sha256(self.digest.encode())
    digest.update(np.ascontiguousarray(self.anchors.ws))
    return digest.hexdigest()

  def need_lpips(self) -> Network:
    """LPIPS; raises UserError where there is none."""
    if self.lpips is None and self.settings.get("lpips"):
      raise UserError(self._moved("lpips"))
    if self.lpips is None:
      raise UserError(
        f"{self.name}: images are compared by LPIPS; give the "
        "folder of its weights by --lpips"
      )
    return self.lpips

  def starting(self, config: Any, space: str | None = None) -> Any:
    """Settings of a search that say what it starts from.

    Args:
      config: has a field `init`, None where nobody has chosen.
      space: "w" or "w+", what the encoder must find; None: either.

    Raises: UserError: an encoder is asked for, and there is none.
    """
    encoder = None if config.init == "mean" else self.encoder
    fits = encoder is not None and space in (None, encoder.module.config.space)
    if config.init == "encoder" and not fits:
      raise UserError(
        f"{self.name}: there is no encoder of its base"
        + (f" for {space}" if space else "")
        + "; give one by --encoder, as python -m "
        "my3dgen_jax.launch.train_encoder writes it"
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
    """The run's photos of a part, by the names that it has written down.

    Args:
      part: "train", "test" or "reference"; may have none.

    Raises: AlbumError, UserError: the album is not where it was, or a photo
      is another by now.
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
          f"{album.place}: {name} is not the photo of that name "
          f"any more that {self.name} was made with; restore "
          "it, or personalize again"
        )
    return found

  def reference(self) -> Album | None:
    """The photos that identity is compared with.

    None where the run has none, or where they or the network are not any
    more, which a warning says then.
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
      print(f"warning: there are no identity scores: {error}", file=sys.stderr)
      return None

  def _moved(self, network: str) -> str:
    """Says where the run's weights of a network have been."""
    return (
      f"{self.settings[network]}: no such folder, whose weights "
      f"{self.name} was made with; give where it is now by --{network}"
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
  """Reads a run, somebody of a bank, or a bare base.

  Args:
    run: folder of `apps.personalize`.
    checkpoint: where the run's or the bank's base is now, or the bare base.
    bank: folder of `lora.Bank`; needs `checkpoint` and `person`.
    person: id in the bank.
    pretrained: the base in place of the person's own; the anchors stay.
    lpips: folder of weights; None: the run's if it is still there, see
      `Person.need_lpips`.
    identity: likewise, see `Person.reference`.
    encoder: folder of `train_encoder`; None: the run's, or what lies beside
      the base, if it is the base's; "": none.
    devices: that are used; none: all.
    precision: of products, see `GeneratorConfig`; None: as the run or the
      base has it.

  Raises: UserError, CheckpointError: names the file or what is missing.
  """
  if run is None and checkpoint is None:
    raise UserError(
      "give the bank's base by --checkpoint"
      if bank is not None
      else "give a run by --run, or a bare base by --checkpoint"
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
  if encoder:  # what is asked for must be there, whoever needs it
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
  """The encoder that is given, or the first that is there and fits."""
  if given:
    found = load_encoder(given)
    if found.base_digest != base:
      raise CheckpointError(
        f"{given}: was trained for the generator "
        f"{found.base_digest[:ID_LENGTH]}, this is {base[:ID_LENGTH]}"
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
      f"{opened.folder}: is a bank of the base {opened.base[:ID_LENGTH]}, "
      f"{checkpoint} is {base_id[:ID_LENGTH]}; name the bank's by --checkpoint"
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
  """A folder, or None where it has moved: not every task uses it."""
  there = folder and os.path.isdir(os.path.expanduser(folder))
  return folder if there else None


def _merged(loaded: run_folder.Run) -> tuple[Network, str]:
  """The person's own as a plain generator, so that it runs like the base.

  Returns: it, and the id of what makes it other than the base.
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
