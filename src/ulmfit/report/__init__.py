"""A page to show a colleague: how good a classifier is, where it errs, and why."""
