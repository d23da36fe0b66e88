"""Recommenders take part in recorded conversations: asked at every turn in which somebody recommends, learned from other people's."""
