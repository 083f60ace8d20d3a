"""Computes the cost of a million people from measured numbers.

    python -m benchmarks.people --gpu_hour=2.5 --image_ms=5.3

Prints the tables of docs/many_people.md. A comment beside each number tells
where it was measured, or that it is assumed.
"""

from benchmarks import report
from my3dgen_jax import lora, LoraConfig, preset
from my3dgen_jax.launch.support import cli

_GPU_HOUR = cli.number(
  "gpu_hour", 2.5, "Price of one GPU-hour, >= 0.", lower_bound=0
)
_IMAGE_MS = cli.number(
  "image_ms",
  5.3,
  "Milliseconds per 512 x 512 image: 5.3 in TF32 on an H100, measured with the "
  "version of November 23, 2026; 13.9 in float32, 3.8 in bfloat16.",
  lower_bound=0.01,
)
_STEP = cli.number(
  "step_in_images",
  2.6,
  "Cost of one photo in a step of tuning or projection, in images, >= 1: 3.1 s "
  "against 1.2 s on two CPU cores; assumed for a GPU, where it was not "
  "measured.",
  lower_bound=1,
)

MILLION, EVERYBODY = 10**6, 3 * 10**9
# Photo-steps for a person with 50 photos: anchors, then tuning in batches of 4.
WAYS = {
  "the paper's settings: 500 steps a photo, 5,000 of tuning": (
    50 * 500,
    5000 * 4,
  ),
  "a tenth of the steps": (50 * 50, 500 * 4),
  "anchors from an encoder, 500 steps": (50, 500 * 4),
}
# kB per person at FFHQ's size; the first from the parameters, the others from
# `benchmarks.adapter_sizes`.
_FULL = 30_662_136 * 4 / 1e3
SIZES = {
  "all weights, float32": _FULL,
  "adapter, float32": 979.1,
  "adapter, float16": 499.0,
  "adapter, int8": 224.7,
  "adapter, int4": 116.0,
}
_MEMORY = 80e9  # bytes of memory of an H100
_ADDED = 406  # people per second added to a bank by one writer, FFHQ, float32


def amount(value: float) -> str:
  """A number in words: 1.5 million."""
  for size, name in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
    if value >= size:
      return f"{value / size:.3g}{name}"
  return f"{value:.3g}"


def size(kilobytes: float) -> str:
  """A size with a suitable unit."""
  for unit, name in ((1e12, "PB"), (1e9, "TB"), (1e6, "GB"), (1e3, "MB")):
    if kilobytes >= unit:
      return f"{kilobytes / unit:.3g} {name}"
  return f"{kilobytes:.3g} kB"


def people_an_hour(steps: int, image_ms: float, step_in_images: float) -> float:
  """People that one GPU personalizes per hour.

  Args:
    steps: photo-steps per person.
    image_ms: milliseconds per image.
    step_in_images: cost of a photo-step, in images.
  """
  return 3600 / (steps * step_in_images * image_ms / 1e3)


def main():
  rows = []
  for name, parts in WAYS.items():
    rate = people_an_hour(sum(parts), _IMAGE_MS.value, _STEP.value)
    hours = [people / rate for people in (MILLION, EVERYBODY)]
    rows.append(
      [
        name,
        f"{sum(parts):,}",
        f"{rate:.3g}",
        *(
          f"{amount(value)} h, {amount(value * _GPU_HOUR.value)}"
          for value in hours
        ),
      ]
    )
  print(
    report.table(
      [
        "way",
        "photo-steps per person",
        "people per GPU-hour",
        "a million: GPU-hours, cost",
        "three billion",
      ],
      rows,
    )
  )
  print()
  numbers = lora.count(
    lora.abstract(preset("ffhqrebalanced512-128"), LoraConfig())
  ).total
  print(
    report.table(
      ["a person is", "bytes", "a million", "three billion", "in 80 GB"],
      [
        [
          name,
          size(kilobytes),
          size(kilobytes * MILLION),
          size(kilobytes * EVERYBODY),
          amount(_MEMORY / (kilobytes * 1e3)),
        ]
        for name, kilobytes in SIZES.items()
      ],
    )
  )
  print()
  print(
    f"{numbers:,} numbers per adapter; {3600e3 / _IMAGE_MS.value:,.0f} images "
    f"per GPU-hour; one writer of a bank adds a million people in "
    f"{MILLION / _ADDED / 60:.0f} minutes, three billion in "
    f"{EVERYBODY / _ADDED / 86400:.0f} days"
  )


if __name__ == "__main__":
  cli.run(main)
