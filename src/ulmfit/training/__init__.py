"""The training loop and its parts: schedules, unfreezing, optimisers, metrics, checkpoints."""
