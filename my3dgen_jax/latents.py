"""The personal convex hull: the region of one person's latents.

    hull = latents.Hull.of(anchors.ws, beta=0.02)
    alpha = hull.project(ws)                        # [B, N]
    ws = hull.latents(alpha)                        # [B, num_ws, w_dim]
    face = hull.latents(hull.sample(key, 8))        # eight new appearances

A latent of the hull is a weighted mean of the person's anchors. The weights
alpha sum to 1 and are >= -beta, which dilates the hull a little. Latents in W+
have separate weights for each layer, [B, num_ws, N].

Source: Nitzan et al. 2022 (MyStyle), sections 3.2 and 3.3; My3DGen, section 3.
"""

import functools
from typing import Literal, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import checks
from my3dgen_jax.tracing.derivatives import entry
from my3dgen_jax.types import Array, make_exportable

__all__ = [
  "EDGES",
  "Coordinates",
  "Hull",
  "between",
  "constrained",
  "offset_penalty",
]

EDGES = ("stop", "continue", "project")

_SHARPNESS = 100.0  # of the softplus that keeps weights above -beta
# Bound on the projection's error in the objective, relative to its value at the
# mean of the anchors.
_TOLERANCE = 1e-6
_MOST_ITERATIONS = 10_000
_AT_EDGE = 1e-5  # weights within this distance of -beta are held there
_RIDGE = 1e-6  # in the equations for derivatives, relative to their trace
_HIGHEST = jax.lax.Precision.HIGHEST


class Coordinates(NamedTuple):
  """A direction in coordinates of the anchors.

  Attributes:
    gamma: [N], sums to 0: alpha + strength * gamma stays an affine mean.
    cosine: cosine of the angle between the direction and its projection onto
      the anchors' span, in [0, 1]; 1: the anchors span it fully.
  """

  gamma: jax.Array
  cosine: jax.Array


@flax.struct.dataclass
class Hull:
  """The dilated convex hull of anchors.

  Attributes:
    anchors: [N, num_ws, w_dim].
    beta: dilation, >= 0: weights are >= -beta; a leaf, so that it can be traced.
  """

  anchors: Array
  beta: Array | float = 0.0

  @classmethod
  def of(cls, anchors: Array, beta: Array | float = 0.02) -> "Hull":
    """Makes a hull, checking its arguments.

    Args:
      anchors: [N, num_ws, w_dim], e.g. `training.anchors.Anchors.ws`.
      beta: dilation, in [0, 1].

    Raises: UserError: names the argument.
    """
    known = checks.concrete(beta)
    if known is not None and not 0 <= known <= 1:
      raise UserError(f"beta: expected a number in [0, 1], got {beta}")
    return cls(
      checks.as_float32("anchors", anchors, ("N", "num_ws", "w_dim")),
      beta if known is None else float(known),
    )

  @property
  def size(self) -> int:
    """Number of anchors."""
    return self.anchors.shape[0]

  @entry
  def latents(self, alpha: Array) -> jax.Array:
    """Weighted means of the anchors.

    Args:
      alpha: weights, [B, N], or [B, num_ws, N] for separate weights per layer.

    Returns: ws, [B, num_ws, w_dim].
    """
    _, num_ws, _ = self.anchors.shape
    if jnp.ndim(alpha) == 3:
      alpha = checks.as_float32("alpha", alpha, ("B", num_ws, self.size))
      return jnp.einsum("bln,nld->bld", alpha, self.anchors, precision=_HIGHEST)
    alpha = checks.as_float32("alpha", alpha, ("B", self.size))
    return jnp.einsum("bn,nld->bld", alpha, self.anchors, precision=_HIGHEST)

  @entry
  def project(self, ws: Array) -> jax.Array:
    """Projects latents onto the hull.

    Minimizes |alpha W - w|^2 / 2 with sum(alpha) = 1 and alpha >= -beta by
    accelerated projected gradients, until the duality gap is below 1e-6 of the
    objective at the anchors' mean, or at the limit of float32. Differentiable
    with respect to anchors, beta and `ws`, in forward and reverse mode, by the
    optimality conditions (the derivative is discontinuous where a weight
    reaches -beta).

    Args:
      ws: [B, num_ws, w_dim].

    Returns: alpha, weights of the nearest points, [B, N].
    """
    ws = checks.as_float32("ws", ws, ("B",) + self.anchors.shape[1:])
    return _project(self.anchors, jnp.asarray(self.beta, jnp.float32), ws)

  @entry
  def sample(
    self, key: chex.PRNGKey, count: int, *, anchors: int = 3
  ) -> jax.Array:
    """Draws weights of random points, each a mean of a few random anchors.

    Args:
      key: the PRNG key.
      count: number of points.
      anchors: number of anchors per point; their weights are uniform random
        numbers, divided by their sum.

    Returns: alpha, [count, N], >= 0.
    Source: MyStyle, section 3.3, P_0.
    """
    chosen = min(anchors, self.size)

    def draw(key):
      which, share = jax.random.split(key)
      rows = jax.random.permutation(which, self.size)[:chosen]
      shares = jax.random.uniform(share, (chosen,), jnp.float32, minval=1e-6)
      return (
        jnp.zeros(self.size, jnp.float32).at[rows].set(shares / jnp.sum(shares))
      )

    return jax.vmap(draw)(jax.random.split(key, count))

  @entry
  def coordinates(self, direction: Array) -> Coordinates:
    """Coordinates of a direction in W or W+, by least squares.

    Args:
      direction: [w_dim] or [num_ws, w_dim], of any length > 0.

    Raises: UserError: it is zero, or has another shape.
    """
    shape = self.anchors.shape[1:]
    direction = checks.as_float32(
      "direction", direction, shape[1:] if jnp.ndim(direction) == 1 else shape
    )
    length = jnp.linalg.norm(jnp.broadcast_to(direction, shape))
    known = checks.concrete(length)
    if known is not None and not known > 0:
      raise UserError("direction: expected a nonzero vector, got zeros")
    return _coordinates(self, jnp.broadcast_to(direction, shape))

  @entry
  def reach(self, alpha: Array, gamma: Array) -> tuple[jax.Array, jax.Array]:
    """Range of edit strengths that stay in the hull.

    Args:
      alpha: weights, [B, N], in the hull.
      gamma: direction, [N], see `coordinates`.

    Returns: the lowest and the highest strength, each [B]; 0 lies between.
    """
    room = jnp.maximum(alpha + self.beta, 0.0)
    # A weight that does not move never stops an edit.
    up = jnp.where(gamma < 0, room / jnp.maximum(-gamma, 1e-30), jnp.inf)
    down = jnp.where(gamma > 0, room / jnp.maximum(gamma, 1e-30), jnp.inf)
    return -jnp.min(down, axis=-1), jnp.min(up, axis=-1)

  @entry
  def edit(
    self,
    alpha: Array,
    gamma: Array,
    strength: chex.Numeric,
    edge: Literal["stop", "continue", "project"] = "stop",
  ) -> jax.Array:
    """Moves weights along a direction.

    Args:
      alpha: weights, [B, N].
      gamma: direction, [N], see `coordinates`.
      strength: step along gamma, a number or [B].
      edge: behavior at the boundary of the hull: "stop" there, "continue"
        beyond it, or "project" back onto the hull.

    Returns: the moved weights, [B, N].
    """
    if edge not in EDGES:
      raise UserError(f"edge: expected one of {', '.join(EDGES)}, got {edge!r}")
    alpha = checks.as_float32("alpha", alpha, ("B", self.size))
    gamma = checks.as_float32("gamma", gamma, (self.size,))
    strength = jnp.broadcast_to(
      jnp.asarray(strength, jnp.float32), alpha.shape[:1]
    )
    if edge == "stop":
      strength = jnp.clip(strength, *self.reach(alpha, gamma))
    moved = alpha + strength[:, None] * gamma
    if edge != "project":
      return moved
    outside = jnp.min(moved, axis=-1, keepdims=True) < -self.beta
    return jnp.where(outside, self.project(self.latents(moved)), moved)


@entry
def constrained(raw: Array, beta: float) -> jax.Array:
  """Maps unconstrained numbers to weights of a dilated hull.

  Valid weights are mapped approximately to themselves, so an optimization
  starts near its initial weights.

  Args:
    raw: unconstrained numbers, [..., N].
    beta: dilation of the hull, >= 0.

  Returns: alpha, [..., N]; sums to 1 and is >= -beta, exactly.
  Source: MyStyle, section 3.3; it divides by the sum after subtracting beta,
    which can push weights below -beta.
  """
  above = jax.nn.softplus(_SHARPNESS * (raw + beta)) / _SHARPNESS
  total = 1 + beta * raw.shape[-1]
  # Avoids dividing by zero if all numbers are far below -beta.
  above = above + 1e-12
  return above * (total / jnp.sum(above, axis=-1, keepdims=True)) - beta


@entry
def offset_penalty(
  alpha: Array, offsets: Array, *, layers: int | None = None
) -> jax.Array:
  """Penalty that keeps the weights of a latent's layers close together.

  Args:
    alpha: common weights, [B, N].
    offsets: each layer's weights minus alpha, [B, num_ws, N].
    layers: number of first layers whose offsets are penalized; None: all but
      the last two.

  Returns: [B]: mean((sum(weights) - 1)^2) + the sum of the offsets' norms.
  Source: My3DGen's settings for W+; MyStyle, section 3.3.
  """
  layers = max(offsets.shape[1] - 2, 1) if layers is None else layers
  sums = jnp.sum(alpha[:, None] + offsets, axis=-1)
  squared = jnp.sum(jnp.square(offsets[:, :layers]), axis=-1)
  # sqrt has no derivative at 0, where offsets start.
  lengths = jnp.sqrt(squared + 1e-12) - 1e-6
  return jnp.mean(jnp.square(sums - 1), axis=-1) + jnp.sum(lengths, axis=-1)


@entry
def between(
  x: Array,
  y: Array,
  t: Array,
  *,
  spherical: bool = False,
  centre: Array | float = 0.0,
) -> jax.Array:
  """Interpolates between two latents.

  Args:
    x: latent at t = 0, [num_ws, w_dim].
    y: latent at t = 1, [num_ws, w_dim].
    t: positions, [T].
    spherical: interpolate each row along a great circle about `centre`, with
      linearly changing length; else linearly.
    centre: center of the sphere, e.g. w_avg; broadcasts to `x`.

  Returns: [T, num_ws, w_dim]; exactly x and y at t = 0 and 1.
  """
  t = jnp.asarray(t, jnp.float32)[:, None, None]
  straight = (1 - t) * x + t * y
  if not spherical:
    return straight
  a, b = x - centre, y - centre
  long, wide = (jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
  cosine = jnp.sum(a * b, axis=-1, keepdims=True) / jnp.maximum(
    long * wide, 1e-20
  )
  angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
  sine = jnp.sin(angle)
  safe = jnp.where(sine > 1e-4, sine, 1.0)
  way = (
    jnp.sin((1 - t) * angle) * a / jnp.maximum(long, 1e-20)
    + jnp.sin(t * angle) * b / jnp.maximum(wide, 1e-20)
  ) / safe
  curved = centre + ((1 - t) * long + t * wide) * way
  # Parallel and opposite rows have no unique great circle.
  curved = jnp.where(sine > 1e-4, curved, straight)
  return jnp.where(t == 0, x, jnp.where(t == 1, y, curved))


@jax.jit
def _coordinates(hull: Hull, direction: jax.Array) -> Coordinates:
  rows = hull.anchors.reshape(hull.size, -1)
  rows = rows - jnp.mean(rows, axis=0)  # so that the least-norm gamma sums to 0
  direction = direction.ravel()
  gamma = jnp.linalg.lstsq(rows.T, direction, rcond=1e-5)[0]
  gamma = gamma - jnp.mean(gamma)
  followed = jnp.dot(gamma, rows, precision=_HIGHEST)
  return Coordinates(
    gamma, jnp.linalg.norm(followed) / jnp.linalg.norm(direction)
  )


@jax.custom_jvp
def _nearest(anchors: jax.Array, beta: jax.Array, ws: jax.Array) -> jax.Array:
  """See `Hull.project`."""
  # Imported here, as only projections need it.
  from optax import projections  # pylint: disable=import-outside-toplevel

  size = anchors.shape[0]
  total = 1 + size * beta
  rows = anchors.reshape(size, -1)
  middle = jnp.mean(rows, axis=0)
  rows = rows - middle  # for precision; valid as weights sum to 1
  gram = jnp.dot(rows, rows.T, precision=_HIGHEST)
  largest = jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 1e-12)
  onto = lambda x: (
    projections.projection_simplex(x + beta, total).astype(x.dtype) - beta
  )

  def one(w):
    w = w.ravel() - middle
    linear = jnp.dot(rows, w, precision=_HIGHEST)
    # Relative to the objective at the anchors' mean, which may be 0.
    enough = _TOLERANCE * jnp.maximum(jnp.sum(w * w) / 2, 1e-6 * largest)

    def gap_of(alpha):
      slope = jnp.dot(gram, alpha, precision=_HIGHEST) - linear
      best = total * jnp.min(slope) - beta * jnp.sum(slope)
      return slope, jnp.dot(slope, alpha, precision=_HIGHEST) - best

    def go_on(carry):
      _, _, _, gap, n = carry
      return (gap > enough) & (n < _MOST_ITERATIONS)

    def step(carry):
      alpha, ahead, momentum, _, n = carry
      slope, _ = gap_of(ahead)
      new = onto(ahead - slope / largest)
      faster = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
      # Momentum that leads uphill is dropped (O'Donoghue, Candes 2015).
      uphill = jnp.dot(ahead - new, new - alpha, precision=_HIGHEST) > 0
      faster = jnp.where(uphill, 1.0, faster)
      push = jnp.where(uphill, 0.0, (momentum - 1) / faster)
      return (new, new + push * (new - alpha), faster, gap_of(new)[1], n + 1)

    start = jnp.full(size, 1 / size, jnp.float32)
    alpha, *_ = jax.lax.while_loop(
      go_on, step, (start, start, jnp.float32(1.0), gap_of(start)[1], 0)
    )
    # Corrects the rounding error of the sum in the largest weight.
    return alpha.at[jnp.argmax(alpha)].add(1 - jnp.sum(alpha))

  return jax.vmap(one)(ws)


@_nearest.defjvp
def _nearest_forward(primals, tangents):
  """Differentiates the optimality conditions."""
  alpha = _nearest(*primals)
  return alpha, jax.jvp(
    functools.partial(_by_conditions, alpha), primals, tangents
  )[1]


def _by_conditions(
  alpha: jax.Array, anchors: jax.Array, beta: jax.Array, ws: jax.Array
) -> jax.Array:
  """The solution as that of linear equations for the weights above -beta.

  Args:
    alpha: the solution, [B, N]; used only to find the weights at -beta.
    anchors: see `Hull`.
    beta: see `Hull`.
    ws: [B, num_ws, w_dim].

  Returns: [B, N].
  """
  size = anchors.shape[0]
  rows = anchors.reshape(size, -1)
  middle = jnp.mean(rows, axis=0)
  rows = rows - middle
  gram = jnp.dot(rows, rows.T, precision=_HIGHEST)
  scale = jax.lax.stop_gradient(jnp.maximum(jnp.trace(gram), 1e-12))
  # With dependent anchors, the ridge selects the smallest change.
  gram = gram / scale + _RIDGE * jnp.eye(size, dtype=gram.dtype)

  def one(alpha, w):
    linear = jnp.dot(rows, w.ravel() - middle, precision=_HIGHEST) / scale
    is_free = (alpha > -beta + _AT_EDGE)[:, None]
    one_each = jnp.ones((size, 1), gram.dtype)
    matrix = jnp.block(
      [
        [
          jnp.where(is_free, gram, jnp.eye(size, dtype=gram.dtype)),
          jnp.where(is_free, one_each, 0.0),
        ],
        [one_each.T, jnp.zeros((1, 1), gram.dtype)],
      ]
    )
    values = jnp.where(is_free[:, 0], linear, -beta)
    return jnp.linalg.solve(matrix, jnp.append(values, 1.0))[:size]

  return jax.vmap(one)(alpha, ws)


_project = jax.jit(_nearest)
make_exportable(Hull)
