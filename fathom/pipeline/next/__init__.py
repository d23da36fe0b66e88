"""A language model names what comes next out of its own head, or ranks the whole catalogue, beside named models."""
