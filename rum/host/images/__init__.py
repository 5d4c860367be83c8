"""Base images: named, downloaded, verified, kept, removed."""
