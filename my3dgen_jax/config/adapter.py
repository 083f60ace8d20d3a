"""Settings of an adapter: rank, scale and layers."""

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
  """An adapter: low-rank changes of layers' weights, and offsets.

  W = W0 + alpha / rank * B A. A convolution's weight [O, I, k, k] is treated as
  the matrix [O, I k k], with A [rho, I k k] and B [O, rho].
  """

  rank: int = setting(1, "Rank of each layer's weight change, >= 1.")
  alpha: float = setting(
    1.0, "Scale of the weight change, > 0; it is multiplied by alpha / rank."
  )
  # rho: "kernel" is rank * k, which gives the sizes that My3DGen reports;
  # "rank" is rank, as in its equation 4; "original" is LoRA's own layout for
  # convolutions, A [rank k, I k] and B [O k, rank k], an ablation.
  conv_rank: Literal["kernel", "rank", "original"] = setting(
    "kernel",
    "Rank of a k x k convolution's weight change: kernel: rank * k; rank: rank; "
    "original: LoRA's own layout.",
  )
  targets: tuple[str, ...] = setting(
    ("backbone/synthesis/.*", "superresolution/.*", "decoder/.*"),
    "Modules to adapt, as regular expressions that match the whole path.",
  )

  @property
  def scale(self) -> float:
    return self.alpha / self.rank

  def validate(self, prefix: str = "lora.") -> "LoraConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: text before a field's name in messages.

    Raises:
      ConfigError: names the field and what it expects.
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
          f"{prefix}targets: {pattern!r} is not a regular expression: {error}"
        ) from None
    return self

  def to_dict(self) -> dict:
    """Plain data, as stored in an adapter file."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> "LoraConfig":
    """The inverse of `to_dict`; raises ConfigError on an invalid field."""
    return build(cls, data, "lora.").validate()
