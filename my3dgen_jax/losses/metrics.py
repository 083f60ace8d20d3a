"""Image metrics by name.

    names = ("lpips_alex", "psnr")
    networks = metrics.load(names, {"lpips_alex": "checkpoints/lpips_alex"})
    distance = metrics.METRICS["psnr"].measure(networks["psnr"], x, y)   # [N]

To add a metric, or another network for a known kind, add an entry to
`METRICS`.
"""

import dataclasses
import importlib.util
import os
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.losses import dists, identity, lpips, reconstruction
from my3dgen_jax.losses import weights as weights_lib
from my3dgen_jax.types import Array, Network

_Path = str | os.PathLike


class File(NamedTuple):
  """A published file."""

  name: str
  where: str


@dataclasses.dataclass(frozen=True)
class Weights:
  """The weight files that a metric's network needs.

  Attributes:
    read: reads a folder and returns the network.
    files: the files that it is converted from, by the converter's flag.
    converter: the converter's command; "": the folder is published as it is.
    field: the module's attribute that names a folder's network; "": there is
      only one.
    network: the network that is required.
  """

  read: Callable[[_Path], Network]
  files: Mapping[str, File]
  converter: str
  field: str = ""
  network: str = ""

  def remedy(self, folder: _Path) -> str:
    """Instructions for getting such a folder."""
    get = "get " + " and ".join(
      f"{file.name} ({file.where})" for file in self.files.values()
    )
    if not self.converter:
      return get
    flags = " ".join(
      f"--{flag} {file.name}" for flag, file in self.files.items()
    )
    return (
      f"{get}, then run: python {self.converter} {flags} --output "
      f"{shlex.quote(str(folder))}"
    )

  def load(self, folder: _Path) -> Network:
    """Reads the weights.

    Raises: CheckpointError: there are none, or they are another network's.
    """
    network = self.read(folder)
    found = getattr(network.module, self.field) if self.field else self.network
    if found != self.network:
      raise CheckpointError(
        f"{folder}: contains {found}, expected {self.network}"
      )
    return network


@dataclasses.dataclass(frozen=True)
class Metric:
  """A way to compare two images.

  Attributes:
    title: name in headings.
    better: 1: higher is better, -1: lower is better.
    measure: called with the network, or None if there is none, and two image
      batches [N, H, W, 3] in [-1, 1]; returns [N]; may be jitted.
    weights: the network's weights, or None.
    library: an optional module that must be installed, or None.
    extra: this project's extra that installs it.
  """

  title: str
  better: int
  measure: Callable[[Network | None, Array, Array], jax.Array]
  weights: Weights | None = None
  library: str | None = None
  extra: str = ""


def missing(
  names: Sequence[str], folders: Mapping[str, _Path]
) -> UserError | None:
  """What must be obtained before these metrics can be measured.

  Args:
    names: keys of `METRICS`.
    folders: folders of weights, by metric.

  Returns: an error to raise, of one line, with each file, where it is
    published and the command that converts it; None: nothing is missing.
  Raises: UserError: an unknown metric.
  """
  lines: list[str] = []
  for name in names:
    metric = _metric(name)
    if metric.library and importlib.util.find_spec(metric.library) is None:
      lines.append(
        f"{name}: the module {metric.library} is missing; run pip "
        f'install "my3dgen-jax[{metric.extra}]"'
      )
    if metric.weights is None:
      continue
    folder = folders.get(name)
    if (
      folder
      and (
        pathlib.Path(folder).expanduser() / weights_lib.WEIGHTS_FILE
      ).is_file()
    ):
      continue
    place = (
      f"{folder} holds no {weights_lib.WEIGHTS_FILE}"
      if folder
      else "no folder of weights is given"
    )
    lines.append(
      f"{name}: {place}; "
      + metric.weights.remedy(folder or f"checkpoints/{name}")
    )
  return UserError(" | ".join(lines)) if lines else None


def load(
  names: Sequence[str], folders: Mapping[str, _Path]
) -> dict[str, Network | None]:
  """Reads what the metrics need, before any work starts.

  Args:
    names: keys of `METRICS`.
    folders: folders of weights, by metric.

  Returns: each metric's network, None for those that have none.
  Raises:
    UserError: see `missing`.
    CheckpointError: a folder holds something else; it names the folder.
  """
  error = missing(names, folders)
  if error is not None:
    raise error
  return {
    name: METRICS[name].weights and METRICS[name].weights.load(folders[name])
    for name in names
  }


def _metric(name: str) -> Metric:
  if name not in METRICS:
    raise UserError(
      f"metrics: expected some of {', '.join(METRICS)}, got {name!r}"
    )
  return METRICS[name]


# The metrics.


def _apply(network: Network, x: Array, y: Array) -> jax.Array:
  return network(x, y)


def _cosine(network: Network, x: Array, y: Array) -> jax.Array:
  return identity.similarity(
    *(network.module.embed(network.variables, images) for images in (x, y))
  )


def _lpips(
  backbone: str, title: str, converter: str = "", **files: File
) -> Metric:
  return Metric(
    f"LPIPS ({title})",
    -1,
    _apply,
    Weights(lpips.load_lpips, files, converter, "backbone", backbone),
  )


def _identity(network: str, converter: str = "", **files: File) -> Metric:
  return Metric(
    identity.NETWORKS[network].title,
    1,
    _cosine,
    Weights(identity.load_identity, files, converter, "network", network),
  )


def _linear(backbone: str) -> File:
  return File(
    f"{backbone}.pth",
    "github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1",
  )


_TORCHVISION = "download.pytorch.org/models"
_VGG = File("vgg16-397923af.pth", _TORCHVISION)
_FROM_LPIPS = "converters/lpips_to_flax.py"
_FROM_ARCFACE = "converters/arcface_to_flax.py"
_HERE = "which comes with this project"

METRICS: dict[str, Metric] = {
  "lpips_alex": _lpips(
    "alex",
    "AlexNet",
    _FROM_LPIPS,
    backbone_file=File("alexnet-owt-7be5be79.pth", _TORCHVISION),
    linear_file=_linear("alex"),
  ),
  "lpips_vgg": _lpips(
    "vgg", "VGG-16", _FROM_LPIPS, backbone_file=_VGG, linear_file=_linear("vgg")
  ),
  "lpips_squeeze": _lpips(
    "squeeze",
    "SqueezeNet",
    _FROM_LPIPS,
    backbone_file=File("squeezenet1_1-b8a52dc0.pth", _TORCHVISION),
    linear_file=_linear("squeeze"),
  ),
  "lpips_small": _lpips(
    "small", "demo", folder=File("my3dgen_jax/demo/weights/lpips", _HERE)
  ),
  "dists": Metric(
    "DISTS",
    -1,
    _apply,
    Weights(
      dists.load_dists,
      {
        "backbone_file": _VGG,
        "weight_file": File(
          "weights.pt", "github.com/dingkeyan93/DISTS, DISTS_pytorch"
        ),
      },
      "converters/dists_to_flax.py",
    ),
  ),
  "ir_se50": _identity(
    "ir_se50",
    _FROM_ARCFACE,
    weight_file=File(
      "model_ir_se50.pth", "github.com/TreB1eN/InsightFace_Pytorch"
    ),
  ),
  "mobilefacenet": _identity(
    "mobilefacenet",
    _FROM_ARCFACE,
    weight_file=File(
      "mobilefacenet.pt", "github.com/foamliu/MobileFaceNet, weights"
    ),
  ),
  "ir_se_small": _identity(
    "ir_se_small", folder=File("my3dgen_jax/demo/weights/identity", _HERE)
  ),
  "psnr": Metric("PSNR", 1, lambda _, x, y: reconstruction.psnr(x, y)),
  "ssim": Metric(
    "SSIM",
    1,
    lambda _, x, y: reconstruction.ssim(x, y),
    library="dm_pix",
    extra="evaluate",
  ),
}
