"""Pure functions: no parameters, no state, one subject per file."""
