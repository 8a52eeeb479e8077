"""Every setting of the project, once, with its meaning, default, range and source."""
