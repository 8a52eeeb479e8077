"""Why this label: what each word contributes, and how the prediction moved as the text was read."""
