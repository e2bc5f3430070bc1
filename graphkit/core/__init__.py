"""Floor 0: errors, dimensions, dtypes, specs, the op and its one door, state, the reverse walk."""
