"""Settings of an evaluation, and the networks that judge by them."""

import dataclasses
import pathlib

from my3dgen_jax.apps.evaluation import protocols
from my3dgen_jax.apps.evaluation.paper_tables import TABLES
from my3dgen_jax.apps.evaluation.protocols import Protocol
from my3dgen_jax.config import REQUIRED, setting
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses.weights import WEIGHTS_FILE
from my3dgen_jax.training import run_folder

ALL = "all"  # tables


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """What is measured, and how."""

  tables: tuple[str, ...] = setting(
    REQUIRED, f"Tables to make: {ALL}, or some of {', '.join(TABLES)}."
  )
  protocol: Protocol = protocols.QUICK  # how much is looked at
  seed: int = setting(0, "Seed of latents, views and pairs, >= 0.", low=0)
  directions: tuple[Direction, ...] = ()  # that edits follow
  lpips: str | None = setting(
    None, "Folder of LPIPS's weights; default: each run's."
  )
  identity: str | None = setting(
    None, "Folder of a face recognition network; default: each run's."
  )
  dists: str | None = setting(
    None,
    "Folder of DISTS's weights; default: none, which leaves its column empty.",
  )
  # Of products, see `GeneratorConfig`; None: each run's own.
  precision: str | None = None

  def with_all_named(self) -> "EvaluateConfig":
    """The same with every table's name in place of `ALL`."""
    if ALL not in self.tables:
      return self
    return dataclasses.replace(self, tables=tuple(TABLES))

  def validate(self) -> "EvaluateConfig":
    """Checks the names; raises UserError."""
    unknown = [name for name in self.tables if name not in TABLES]
    if unknown or not self.tables:
      raise UserError(
        f"tables: expected some of {', '.join(TABLES)}, got "
        f"{', '.join(unknown) or 'none'}"
      )
    return self


def judges_of(
  config: EvaluateConfig, folder: pathlib.Path
) -> dict[str, str | None]:
  """Folders of the networks that judge a run.

  Args:
    config: names a network's folder, or leaves it to the run.
    folder: of the run.

  Returns: "lpips", "identity" and "dists"; None: that is not measured.
  """
  settings = run_folder.read_config(folder)["settings"]
  return {
    "lpips": config.lpips or settings["lpips"],
    "identity": config.identity or settings["identity"],
    "dists": config.dists,
  }


def judge_digest(folder: str | None) -> str | None:
  """What tells a network's weights from others; None: there is no network."""
  return folder and run_folder.file_digest(
    pathlib.Path(folder).expanduser() / WEIGHTS_FILE
  )
