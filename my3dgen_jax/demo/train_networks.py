"""Trains the demo's judges: who is it, how alike, how old, does it smile.

First an identity network with ArcFace's margin: each person is a class, and
so is a person's twin, who has other marks. Here it is known what a person is,
so the centre of a class is a learnt linear map of that: what is learnt of one
person holds for all, and a fraction of the steps is enough. Then a small
stack of features that tells everything about a photo: identity, light, mood,
age, marks. LPIPS compares its features, and the part of its head for smile
and age is kept. At last all are measured on people whom neither has seen.

Source of the margin: Deng et al., "ArcFace: Additive Angular Margin Loss for
Deep Face Recognition", CVPR 2019, equation 3.
"""

import dataclasses
import os
import pathlib
from typing import Any, Callable, Dict, Tuple, Union

import chex
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config import ConfigError, check_numbers, setting
from my3dgen_jax.demo import attributes, gallery, people
from my3dgen_jax.losses import backbones, identity, lpips
from my3dgen_jax.jobs import devices
from my3dgen_jax.training import checkpoint, run_folder
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.training.state import TrainState

IDENTITY = "ir_se_small"
FOLDERS = ("identity", "lpips", "attributes")
QUALITY_FILE = "quality.json"
_WARM_UP = 0.4  # of the steps, until the margin is whole
_SHIFT = 4  # pixels, at most
_AT_ONCE = 32  # photos that are measured by one call
_SQUASH = 2.2  # where `people.decode` squashes parameters
_TEST_SUPERSAMPLING = 2  # as albums have it


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """How the judges are trained."""

  people: int = setting(1000, "People to learn from, each with a twin.")
  photos: int = setting(4, "Photos of each.")
  resolution: int = setting(128, "Side of a photo, pixels.")
  supersampling: int = setting(1, "Rays a pixel along each side, in training.")
  batch: int = setting(64, "Photos a step, shared by the devices.")
  identity_steps: int = setting(800, "Steps of the identity network.")
  identity_rate: float = setting(0.004, "Its peak learning rate.")
  margin: float = setting(0.3, "ArcFace's margin, radians.")
  scale: float = setting(20.0, "ArcFace's scale of cosines.")
  feature_steps: int = setting(600, "Steps of the features.")
  feature_rate: float = setting(0.002, "Their peak learning rate.")
  test_people: int = setting(100, "People to measure with, with twins.")
  test_kinds_people: int = setting(16, "People to measure marks with.")
  test_photos: int = setting(4, "Photos of each.")
  save_every: int = setting(100, "Steps between saved states.")
  log_every: int = setting(25, "Steps between logged ones.")
  seed: int = setting(0, "Of weights and people.")

  def validate(self) -> "NetworksConfig":
    """Checks every field; raises ConfigError that names it."""
    check_numbers(self, may_be_zero=("margin", "seed"))
    for name in ("photos", "test_photos", "test_people"):
      if getattr(self, name) < 2:
        raise ConfigError(f"{name}: expected at least 2, got "
                          f"{getattr(self, name)}")
    if self.resolution * self.supersampling % 8:
      raise ConfigError(f"resolution: times the supersampling expected a "
                        f"multiple of 8, got {self.resolution}")
    if self.batch % jax.local_device_count():
      raise ConfigError(f"batch: expected a multiple of the devices, "
                        f"{jax.local_device_count()}, got {self.batch}")
    if self.batch > self.plan.size:
      raise ConfigError(f"batch: expected at most all {self.plan.size} "
                        f"photos, got {self.batch}")
    return self

  @property
  def plan(self) -> gallery.Plan:
    """The photos to learn from."""
    return gallery.Plan(people=self.people, photos=self.photos,
                        seed=3 * self.seed + 1, resolution=self.resolution,
                        supersampling=self.supersampling)

  @property
  def test_plans(self) -> Tuple[gallery.Plan, gallery.Plan]:
    """The photos to measure with: of twins, and of kinds of marks."""
    test = dataclasses.replace(
        self.plan, people=self.test_people, photos=self.test_photos,
        seed=3 * self.seed + 2, supersampling=_TEST_SUPERSAMPLING)
    return test, dataclasses.replace(
        test, people=self.test_kinds_people, seed=3 * self.seed + 3,
        variants="kinds")


@dataclasses.dataclass(frozen=True)
class _Task:
  """One of the two trainings.

  Attributes:
    name: of its state's folder.
    steps: how many.
    rate: peak learning rate.
    init: variables to begin with, from a key: "params" and "batch_stats".
    targets: [N, ...] of all photos.
    loss: of variables, images, targets and the share of steps done; returns
      the loss, and (new batch_stats, terms to log).
  """

  name: str
  steps: int
  rate: float
  init: Callable[[chex.PRNGKey], Any]
  targets: np.ndarray
  loss: Callable[..., Tuple[jax.Array, Tuple[Any, Dict[str, jax.Array]]]]


def _identity_task(config: NetworksConfig, photos: gallery.Gallery) -> _Task:
  network = identity.NETWORKS[IDENTITY]
  module = network.module(train=True)
  _, first = np.unique(photos.label, return_index=True)
  classes = traits_of(jax.tree.map(lambda x: x[first], photos.person))

  def init(key):
    images = jnp.zeros((1, network.side, network.side, 3))
    variables = module.init(key, images)
    centres = jax.random.normal(jax.random.fold_in(key, 1),
                                (classes.shape[1], module.features))
    return {"params": {"network": variables["params"], "centres": centres},
            "batch_stats": variables["batch_stats"]}

  def loss(variables, images, labels, share):
    params = variables["params"]
    embeddings, updated = module.apply(
        {"params": params["network"], "batch_stats": variables["batch_stats"]},
        identity.average_pool(images, network.side), mutable=["batch_stats"])
    centres = classes @ params["centres"]
    centres *= jax.lax.rsqrt(jnp.sum(jnp.square(centres), -1, keepdims=True))
    cosines = embeddings @ centres.T
    margin = config.margin * jnp.minimum(share / _WARM_UP, 1)
    value = margin_loss(cosines, labels, margin=margin, scale=config.scale)
    right = jnp.mean(jnp.argmax(cosines, axis=-1) == labels)
    return value, (updated["batch_stats"], {"identity": value,
                                            "right": right})

  return _Task("identity", config.identity_steps, config.identity_rate, init,
               photos.label, loss)


def margin_loss(cosines: chex.Array, labels: chex.Array, *,
                margin: chex.Numeric, scale: float) -> jax.Array:
  """ArcFace's loss, a mean.

  Args:
    cosines: [N, classes], of embeddings and classes' centres.
    labels: [N], the right classes.
    margin: added to the angle to the right class, radians.
    scale: of cosines.
  """
  right = jax.nn.one_hot(labels, cosines.shape[-1], dtype=bool)
  cosine = jnp.sum(jnp.where(right, cosines, 0), -1)
  # The sine's gradient is infinite at an angle of 0.
  sine = jnp.sqrt(jnp.maximum(1 - jnp.square(cosine), 1e-6))
  moved = cosine * jnp.cos(margin) - sine * jnp.sin(margin)
  # Beyond pi - margin the cosine would rise again.
  moved = jnp.where(cosine > -jnp.cos(margin), moved,
                    cosine - margin * jnp.sin(margin))
  logits = scale * jnp.where(right, moved[:, None], cosines)
  return jnp.mean(jax.nn.logsumexp(logits, -1) - scale * moved)


def traits_of(person: people.Person) -> np.ndarray:
  """What makes each of N people different from others, [N, M], standardised.

  Args:
    person: N people; their `photo` does not count.
  """
  traits = np.concatenate([
      _squashed(person.identity),
      *(getattr(person.marks, kind) for kind in people.MARKS)], axis=-1)
  spread = traits.std(axis=0)
  # Of a few people, none may have a kind of mark.
  return (traits - traits.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _squashed(numbers: chex.Array) -> jax.Array:
  return _SQUASH * jnp.tanh(numbers / _SQUASH)


def targets_of(person: people.Person) -> jax.Array:
  """What features learn about people, [N, M] about normal or in [0, 1].

  Returns: shares of smile and age, all other parameters as `people.decode`
    squashes them, and which kinds of marks there are.
  """
  has = jnp.stack([jnp.any(getattr(person.marks, kind) != 0, axis=-1)
                   for kind in people.MARKS], axis=-1)
  rest = [i for i, name in enumerate(people.PHOTO)
          if name not in attributes.NAMES]
  return jnp.concatenate([
      jnp.stack([people.smile(person), people.age(person)], axis=-1),
      _squashed(person.identity), _squashed(person.photo[..., np.array(rest)]),
      has.astype(jnp.float32)], axis=-1)


def _feature_task(config: NetworksConfig, photos: gallery.Gallery) -> _Task:
  targets = np.asarray(targets_of(photos.person))
  module = attributes.Regressor(targets.shape[-1])
  first, last = len(attributes.NAMES), -len(people.MARKS)

  def init(key):
    images = jnp.zeros((1, attributes.SIDE, attributes.SIDE, 3))
    return {"params": module.init(key, images)["params"], "batch_stats": {}}

  def loss(variables, images, targets, share):
    del share
    found = module.apply({"params": variables["params"]},
                         attributes.resized(images))
    error = jnp.square(jax.nn.sigmoid(found[:, :first]) - targets[:, :first])
    logits, has = found[:, last:], targets[:, last:]
    terms = {
        # A share's variance is 1 / 12.
        "attributes": 12 * jnp.mean(error),
        "parameters": jnp.mean(jnp.square(found[:, first:last]
                                          - targets[:, first:last])),
        "marks": jnp.mean(jax.nn.softplus(logits) - has * logits)}
    return sum(terms.values()), (variables["batch_stats"], terms)

  return _Task("features", config.feature_steps, config.feature_rate, init,
               targets, loss)


def augmented(key: chex.PRNGKey, images: chex.Array) -> jax.Array:
  """Photos a little moved, blurred, brighter or darker; never mirrored.

  Args:
    key: PRNG key.
    images: [N, S, S, 3] uint8.

  Returns: [N, S, S, 3] in [-1, 1].
  """
  keys = jax.random.split(key, 4)
  count, side = images.shape[:2]
  padded = jnp.pad(images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT),
                            (0, 0)), mode="edge")
  corners = jax.random.randint(keys[0], (count, 2), 0, 2 * _SHIFT + 1)
  x = jax.vmap(lambda image, corner: jax.lax.dynamic_slice(
      image, (*corner, 0), (side, side, 3)))(padded, corners)
  x = x.astype(jnp.float32) / 127.5 - 1
  uniform = lambda key, low, high: jax.random.uniform(
      key, (count, 1, 1, 1), minval=low, maxval=high)
  x += uniform(keys[1], 0.0, 1.0) * (_blurred(x) - x)
  x = x * uniform(keys[2], 0.85, 1.15) + uniform(keys[3], -0.1, 0.1)
  return jnp.clip(x, -1, 1)


def _blurred(x: jax.Array) -> jax.Array:
  """Binomial weights over three pixels along each side."""
  for axis in (1, 2):
    width = [(0, 0)] * x.ndim
    width[axis] = (1, 1)
    padded = jnp.pad(x, width, mode="edge")
    part = lambda n, padded=padded, axis=axis: jax.lax.slice_in_dim(
        padded, n, n + x.shape[axis], axis=axis)
    x = (part(0) + 2 * part(1) + part(2)) / 4
  return x


def optimizer(rate: float, steps: int) -> Any:
  """Adam with a cosine, after a short warm-up."""
  # Only whoever trains needs it.
  import optax  # pylint: disable=import-outside-toplevel
  steps = max(steps, 10)
  return optax.chain(
      optax.clip_by_global_norm(5.0),
      optax.adam(optax.warmup_cosine_decay_schedule(
          0.0, rate, steps // 20, steps, rate / 100)))


def _make_step(config: NetworksConfig, task: _Task) -> Callable[
    ..., Tuple[TrainState, Dict[str, Any]]]:
  """A compiled step: (state, images, targets) -> (state, terms).

  Returns: a function of arrays with a leading axis of devices.
  """
  import optax  # pylint: disable=import-outside-toplevel
  transform = optimizer(task.rate, task.steps)

  def step(state, images, targets):
    variables = state.trainable
    key = jax.random.fold_in(jax.random.fold_in(
        jax.random.key(config.seed), state.step),
                             jax.lax.axis_index(devices.AXIS))
    images = augmented(key, images)
    share = state.step / task.steps
    slope = jax.grad(lambda params: task.loss(
        {**variables, "params": params}, images, targets, share),
                     has_aux=True)
    grads, (stats, terms) = jax.lax.pmean(slope(variables["params"]),
                                          devices.AXIS)
    updates, opt_state = transform.update(grads, state.opt_state,
                                          variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    return TrainState(state.step + 1, {"params": params, "batch_stats": stats},
                      opt_state), terms

  return devices.spread(step, donate=(0,))


def train(folder: Union[str, os.PathLike],
          config: NetworksConfig) -> Dict[str, Any]:
  """Draws, trains and measures, from what is in the folder.

  Args:
    folder: of the training: `people*/`, `state_*/`, `metrics.jsonl`, and at
      the end `identity/`, `lpips/`, `attributes/` and `quality.json`.
    config: of the training.

  Returns: what is in `quality.json`.
  Raises:
    Interrupted: SIGTERM or SIGINT; what is done is saved.
    UserError: the folder holds a training with other settings.
    CheckpointError: a state or the weights cannot be read or written.
  """
  config.validate()
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  source = {"demo": dataclasses.asdict(config)}
  with stopping_gently() as stop:
    photos = gallery.open_gallery(folder / "people", config.plan, stop)
    tasks = (_identity_task(config, photos), _feature_task(config, photos))
    starts = [_start(folder, config, task) for task in tasks]
    with MetricsLog(folder, step=sum(int(s.step) for s in starts)) as log:
      before, ends = 0, []
      for task, state in zip(tasks, starts):
        ends.append(_train(folder, config, task, state, photos.images, stop,
                           log, before))
        before += task.steps
    variables = _kept(*ends)
    identity.save_identity(folder / "identity", IDENTITY,
                           variables["identity"], source=source,
                           overwrite=True)
    lpips.save_lpips(folder / "lpips", attributes.BACKBONE,
                     variables["lpips"], source=source, overwrite=True)
    attributes.save_attributes(folder / "attributes", variables["attributes"],
                               source=source, overwrite=True)
    quality = measure(folder, [
        gallery.open_gallery(folder / name, plan, stop, title=name)
        for name, plan in zip(("people_test", "people_kinds"),
                              config.test_plans)])
  run_folder.write_json(folder / QUALITY_FILE, quality)
  return quality


def _start(folder: pathlib.Path, config: NetworksConfig,
           task: _Task) -> TrainState:
  """The state that a training goes on from, on the host."""
  variables = jax.jit(task.init)(jax.random.key(config.seed))
  start = TrainState(jnp.zeros((), jnp.int32), variables,
                     optimizer(task.rate, task.steps).init(
                         variables["params"]))
  saved = checkpoint.load_state(folder / f"state_{task.name}", start)
  return saved.state if saved else start


def _train(folder: pathlib.Path, config: NetworksConfig, task: _Task,
           state: TrainState, images: np.ndarray, stop: StopRequest,
           log: MetricsLog, before: int) -> Any:
  """Trains one network.

  Args:
    folder: of the training.
    config: of the training.
    task: what to learn.
    state: to go on from.
    images: [N, S, S, 3] uint8, what to learn from.
    stop: asked after every step.
    log: to write to.
    before: steps of the log that other trainings took.

  Returns: its variables, on the host.
  """
  done = int(state.step)
  progress = Progress(f"training {task.name}", task.steps, "steps",
                      start=done)
  state = devices.replicate(state, devices.local_devices())
  step = _make_step(config, task)
  split = lambda x: x.reshape(jax.local_device_count(), -1, *x.shape[1:])
  while done < task.steps:
    chosen = _chosen(config, done, images.shape[0])
    state, terms = step(state, split(images[chosen]),
                        split(task.targets[chosen]))
    done += 1
    if done % config.log_every == 0 or done == task.steps:
      terms = {name: float(term)
               for name, term in devices.first(terms).items()}
      log.write(before + done, terms)
      progress.update(done, ", ".join(
          f"{name} {term:.4f}" for name, term in terms.items()))
    if (done % config.save_every == 0 or done == task.steps
        or stop.signal is not None):
      checkpoint.save_state(folder / f"state_{task.name}",
                            devices.first(state))
    stop.raise_if_wanted(f"stopped at step {done} of {task.steps} of "
                         f"{task.name}; the same command goes on")
  return devices.first(state).trainable


def _chosen(config: NetworksConfig, step: int, count: int) -> np.ndarray:
  """The photos of a step: all come once before one comes again."""
  turn, place = divmod(step, count // config.batch)
  order = np.random.default_rng((config.seed, turn)).permutation(count)
  return order[place * config.batch:(place + 1) * config.batch]


def _kept(judge: Any, features: Any) -> Dict[str, Any]:
  """Variables of `FOLDERS` from those of the trainings."""
  channels = backbones.NETWORKS[attributes.BACKBONE].tap_channels()
  # No one has judged how alike procedural photos are: all layers count.
  linear = {f"lin{i}": np.full(size, 1 / len(channels), np.float32)
            for i, size in enumerate(channels)}
  return {
      "identity": {"params": judge["params"]["network"],
                   "batch_stats": judge["batch_stats"]},
      "lpips": {"params": {"network": features["params"]["backbone"],
                           **linear}},
      "attributes": attributes.of_training(features["params"])}


# How good they are.


def measure(folder: Union[str, os.PathLike],
            galleries: Tuple[gallery.Gallery, gallery.Gallery]
            ) -> Dict[str, Any]:
  """Measures networks on photos.

  Args:
    folder: that has `FOLDERS`.
    galleries: of twins, and of kinds of marks.

  Returns: plain data. Areas under the curve: "auc_people", photos of one
    person against those of two; "auc_twins", likewise for two who differ in
    marks alone; "auc_kinds", likewise for one kind of mark or none. Smile and
    age: root mean squared error of the share, and correlation.
  Raises: CheckpointError: weights cannot be read.
  """
  folder = pathlib.Path(folder)
  wrapper, variables = identity.load_identity(folder / "identity")
  regressor = attributes.load_attributes(folder / "attributes")
  embed = lambda photos: _in_parts(
      lambda images: wrapper.embed(variables, images), photos.images)
  twins, kinds = galleries
  result = {"people": int(twins.owner.max()) + 1,
            "photos": int(twins.images.shape[0]),
            **identity_quality(embed(twins), twins)}
  result["auc_kinds"] = kinds_quality(embed(kinds), kinds)
  found = _in_parts(regressor, twins.images)
  true = {"smile": people.smile(twins.person), "age": people.age(twins.person)}
  for name in attributes.NAMES:
    wanted = np.asarray(true[name])
    result[name] = {
        "rmse": float(np.sqrt(np.mean(np.square(found[name] - wanted)))),
        "correlation": float(np.corrcoef(found[name], wanted)[0, 1])}
  return result


def _in_parts(function: Callable[[jax.Array], Any],
              images: np.ndarray) -> Any:
  """A function of images in [-1, 1] of all uint8 ones, a part at a time."""
  function = jax.jit(lambda part, function=function: function(part))
  count = images.shape[0]
  filled = np.resize(np.arange(count), -(-count // _AT_ONCE) * _AT_ONCE)
  parts = [jax.device_get(function(
      images[chosen].astype(np.float32) / 127.5 - 1))
           for chosen in filled.reshape(-1, _AT_ONCE)]
  return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


def identity_quality(embeddings: chex.Array,
                     photos: gallery.Gallery) -> Dict[str, float]:
  """How well people, and twins, are told apart.

  Args:
    embeddings: [N, features], of unit length.
    photos: of twins.

  Returns: "auc_people" and "auc_twins", see `measure`; the mean cosine of
    pairs of each.
  """
  cosines, same, owner = _pairs(embeddings, photos)
  twins = owner & ~same
  return {
      "auc_people": area_under_curve(cosines[same], cosines[~owner]),
      "auc_twins": area_under_curve(cosines[same], cosines[twins]),
      "cosine_same": float(cosines[same].mean()),
      "cosine_twins": float(cosines[twins].mean()),
      "cosine_different": float(cosines[~owner].mean())}


def kinds_quality(embeddings: chex.Array,
                  photos: gallery.Gallery) -> Dict[str, float]:
  """`identity_quality`'s "auc_twins" for each kind of mark.

  Args:
    embeddings: [N, features], of unit length.
    photos: of kinds.
  """
  variant = photos.label % (1 + len(people.MARKS))
  result = {}
  for n, kind in enumerate(people.MARKS):
    chosen = np.flatnonzero((variant == 0) | (variant == n + 1))
    cosines, same, owner = _pairs(embeddings[chosen], jax.tree.map(
        lambda x, chosen=chosen: x[chosen], photos))
    result[kind] = area_under_curve(cosines[same], cosines[owner & ~same])
  return result


def _pairs(embeddings: np.ndarray, photos: gallery.Gallery
           ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Cosines of all pairs of photos; same variant?; same identity vector?"""
  first, second = np.triu_indices(len(embeddings), 1)
  cosines = (embeddings @ embeddings.T)[first, second]
  return (cosines, photos.label[first] == photos.label[second],
          photos.owner[first] == photos.owner[second])


def area_under_curve(high: chex.Array, low: chex.Array) -> float:
  """How often one of `high` exceeds one of `low`; ties count half."""
  ordered = np.sort(low)
  below = (np.searchsorted(ordered, high, "left")
           + np.searchsorted(ordered, high, "right")) / 2
  return float(below.mean() / len(ordered))
