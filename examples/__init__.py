"""Programs that show how to use towpath."""
