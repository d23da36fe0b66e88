"""The stages in order: a recipe becomes a run folder that explains itself and can be resumed at any moment."""
