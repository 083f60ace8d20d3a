"""`python -m my3dgen_jax COMMAND --flags`: the same as `my3dgen COMMAND`."""

from my3dgen_jax.launch.support.my3dgen import main

if __name__ == "__main__":
  main()
