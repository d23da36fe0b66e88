"""R²ec (arXiv:2505.16994): what its recipe says, its stages, its table."""
