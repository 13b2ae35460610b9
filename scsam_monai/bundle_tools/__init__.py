"""Tools for those who publish a bundle or take one from others: audit it, verify it, pack its weights."""
