"""DeepRec's main job (arXiv:2505.16810): what its recipe says, its stages, its agents, its table."""
