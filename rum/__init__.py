"""rum boots stock cloud images and provisions them through a guest agent; this package root also ships to the guest."""

__version__ = "0.1.0"
