"""Data sets: their description on disk, importers, generated samples and transforms."""
