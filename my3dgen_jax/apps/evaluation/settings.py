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
  """What to measure, and how."""

  tables: tuple[str, ...] = setting(
    REQUIRED, f"Tables to make: {ALL}, or any of {', '.join(TABLES)}."
  )
  protocol: Protocol = protocols.QUICK  # how much to measure
  seed: int = setting(0, "Seed of latents, views and pairs, >= 0.", low=0)
  directions: tuple[Direction, ...] = ()  # for edits to follow
  lpips: str | None = setting(
    None, "Folder of LPIPS's weights; default: each run's."
  )
  identity: str | None = setting(
    None, "Folder of a face recognition network; default: each run's."
  )
  dists: str | None = setting(
    None,
    "Folder of DISTS's weights; default: none, and its column stays empty.",
  )
  # Precision of products, see `GeneratorConfig`; None: each run's own.
  precision: str | None = None

  def with_all_named(self) -> "EvaluateConfig":
    """The config with every table's name instead of `ALL`."""
    if ALL not in self.tables:
      return self
    return dataclasses.replace(self, tables=tuple(TABLES))

  def validate(self) -> "EvaluateConfig":
    """Checks the tables' names; raises UserError."""
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
    config: the settings; a folder that is None is left to the run.
    folder: the run's folder.

  Returns: folders by "lpips", "identity" and "dists"; None: not measured.
  """
  settings = run_folder.read_config(folder)["settings"]
  return {
    "lpips": config.lpips or settings["lpips"],
    "identity": config.identity or settings["identity"],
    "dists": config.dists,
  }


def judge_digest(folder: str | None) -> str | None:
  """A digest of a network's weights; None: there is no network."""
  return folder and run_folder.file_digest(
    pathlib.Path(folder).expanduser() / WEIGHTS_FILE
  )
