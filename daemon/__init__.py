"""The long-running service: receives batches, applies them to the models, shows the numbers."""
