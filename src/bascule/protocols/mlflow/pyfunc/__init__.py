"""What goes out with a model: its loader stands alone and is imported by MLflow's clients, never by this package."""
