"""Adapters: what makes a generator one person's own, as one small pytree.

    generator, base = load_generator("checkpoints/ffhq")
    obama, variables = lora.personal(
        generator, base, lora.load("runs/obama/adapter.safetensors"))

and a new one, to be trained:

    config = LoraConfig(rank=1)
    fresh = lora.init(key, generator.config, config)
    new, variables = lora.personal(generator, base, (fresh, config))

An adapter is the collection `lora` of a `Generator` that has a `LoraConfig`:
a pair `lora_a`, `lora_b` for each convolution, to-RGB and affine layer, and
offsets (`bias_offset`, …) for the biases, noise strengths and the decoder.
A fresh adapter changes nothing. The base's `params` are never modified, so one
frozen base serves any number of people, and an optimizer sees this tree alone.
Files store it in 32 to 4 bits per number (`quantization`), or as coefficients
of a basis that many people share (`shared_basis`).

Source: My3DGen, section 3.2 and equation 4; LoRA (Hu et al. 2021).
"""

from my3dgen_jax.lora.bank import Bank
from my3dgen_jax.lora.bank_rows import clean_id, Entry, Photos
from my3dgen_jax.lora.changes import (
  average,
  block_of,
  interpolate,
  kernel_changes,
  merge_into_params,
  relative_change,
  relative_difference,
)
from my3dgen_jax.lora.collection import (
  abstract,
  Count,
  count,
  fingerprint,
  init,
  merge_collections,
  renamed,
  split_collections,
  stack,
  unstack,
)
from my3dgen_jax.lora.device_cache import DeviceCache
from my3dgen_jax.lora.files import BASE_DIGEST, check_fits, load, Loaded, save
from my3dgen_jax.lora.person import personal

__all__ = [
  "BASE_DIGEST",
  "Bank",
  "Count",
  "DeviceCache",
  "Entry",
  "Loaded",
  "Photos",
  "abstract",
  "average",
  "block_of",
  "check_fits",
  "clean_id",
  "count",
  "fingerprint",
  "init",
  "interpolate",
  "kernel_changes",
  "load",
  "merge_collections",
  "merge_into_params",
  "personal",
  "relative_change",
  "relative_difference",
  "renamed",
  "save",
  "split_collections",
  "stack",
  "unstack",
]
