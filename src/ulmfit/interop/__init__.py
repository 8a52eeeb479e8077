"""Models of other libraries: read safely, converted, and written back."""
