"""Where the processes of a job are: an address, or what a cluster says."""

from my3dgen_jax.errors import FlagError

CONNECT_SECONDS = 300.0  # within which all processes must have come


def detect() -> tuple[str, int, int, list[int] | None]:
  """Asks SLURM, Open MPI, … as `jax.distributed.initialize` does.

  Returns: coordinator, count, index, and which of the machine's devices are
    this process's (None: all).
  Raises: FlagError: there is no such cluster, or it says too little.
  """
  try:
    from jax._src import clusters  # pylint: disable=import-outside-toplevel

    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
      None, None, None, None, None, int(CONNECT_SECONDS)
    )
  # What a cluster's variables hold may be anything.
  except Exception as error:  # pylint: disable=broad-exception-caught
    raise FlagError(
      f"--coordinator=auto: {error}; give --coordinator="
      "HOST:PORT, --num_processes and --process_id"
    ) from None
  coordinator, number, process, local = found
  if coordinator is None or number is None or process is None:
    raise FlagError(
      "--coordinator=auto: this is no job of SLURM, Open MPI or "
      "another cluster that JAX knows; give --coordinator="
      "HOST:PORT, --num_processes and --process_id"
    )
  return coordinator, number, process, None if local is None else list(local)


def parse_address(coordinator: str) -> tuple[str, int]:
  """HOST:PORT or [HOST]:PORT."""
  host, _, port = coordinator.rpartition(":")
  host = host.strip("[]")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise FlagError(
      "--coordinator: expected HOST:PORT of process 0, or auto, "
      f"got {coordinator!r}"
    )
  return host, int(port)
