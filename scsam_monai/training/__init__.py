"""Losses, class-balanced crops, parameter groups and handlers that train a network."""
