"""Embeddings of frozen encoders, computed once and read back in every epoch."""

from scsam_monai.training.cache.embeddings import EmbeddingCache, Recipe
from scsam_monai.training.cache.fill import FillCache
from scsam_monai.training.cache.store import EmbeddingStore

__all__ = ["EmbeddingCache", "EmbeddingStore", "FillCache", "Recipe"]
