"""What is personal in a generator: ranks, scale, and which layers."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

from my3dgen_jax.config.checks import (
  build,
  check_types,
  ConfigError,
  is_positive,
  is_size,
  require,
  setting,
)


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """What is personal: low-rank pairs on the layers' weights, and offsets.

  W = W0 + alpha / rank * B A. A convolution's weight [O, I, k, k] is seen as
  the matrix [O, I k k], with pairs A [rho, I k k] and B [O, rho].
  """

  rank: int = setting(1, "Rank of the change of each layer's weight, >= 1.")
  alpha: float = setting(
    1.0, "Scale of the change, > 0: it is multiplied by alpha / rank."
  )
  # rho: "kernel" is rank * k, the setting whose sizes My3DGen reports;
  # "rank" is rank, as its equation 4 is written; "original" is LoRA's own
  # layout for convolutions, A [rank k, I k] and B [O k, rank k], an ablation.
  conv_rank: Literal["kernel", "rank", "original"] = setting(
    "kernel",
    "Rank of a k x k convolution's change: kernel: rank * k; "
    "rank: rank; original: LoRA's own layout.",
  )
  targets: tuple[str, ...] = setting(
    ("backbone/synthesis/.*", "superresolution/.*", "decoder/.*"),
    "Modules to adapt: regular expressions that match their whole path.",
  )

  @property
  def scale(self) -> float:
    return self.alpha / self.rank

  def validate(self, prefix: str = "lora.") -> "LoraConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: of the fields in messages.

    Raises:
      ConfigError: names the field and what it should hold.
    """
    check_types(self, prefix)
    require(
      is_size(self.rank), f"{prefix}rank", "a whole number >= 1", self.rank
    )
    require(
      is_positive(self.alpha), f"{prefix}alpha", "a positive number", self.alpha
    )
    for pattern in self.targets:
      try:
        re.compile(pattern)
      except re.error as error:
        raise ConfigError(
          f"{prefix}targets: {pattern!r} is no regular expression: {error}"
        ) from None
    return self

  def to_dict(self) -> dict:
    """Plain data, as an adapter's file holds it."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> "LoraConfig":
    """The inverse of `to_dict`; raises ConfigError on what does not fit."""
    return build(cls, data, "lora.").validate()
