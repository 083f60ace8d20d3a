"""Where a job's processes are: from an address, or from the cluster."""

from my3dgen_jax.errors import FlagError

CONNECT_SECONDS = 300.0  # time for all processes to connect


def detect() -> tuple[str, int, int, list[int] | None]:
  """Detects SLURM, Open MPI, … as `jax.distributed.initialize` does.

  Returns: coordinator, process count, process index, and the machine's devices
    that this process uses (None: all).
  Raises: FlagError: there is no such cluster, or it does not say enough.
  """
  try:
    from jax._src import clusters  # pylint: disable=import-outside-toplevel

    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
      None, None, None, None, None, int(CONNECT_SECONDS)
    )
  # A cluster's environment variables may hold anything.
  except Exception as error:  # pylint: disable=broad-exception-caught
    raise FlagError(
      f"--coordinator=auto: {error}; give --coordinator="
      "HOST:PORT, --num_processes and --process_id"
    ) from None
  coordinator, number, process, local = found
  if coordinator is None or number is None or process is None:
    raise FlagError(
      "--coordinator=auto: this is not a job of SLURM, Open MPI or "
      "another cluster that JAX knows; give --coordinator="
      "HOST:PORT, --num_processes and --process_id"
    )
  return coordinator, number, process, None if local is None else list(local)


def parse_address(coordinator: str) -> tuple[str, int]:
  """Parses HOST:PORT or [HOST]:PORT."""
  host, _, port = coordinator.rpartition(":")
  host = host.strip("[]")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise FlagError(
      "--coordinator: expected HOST:PORT of process 0, or auto, "
      f"got {coordinator!r}"
    )
  return host, int(port)
