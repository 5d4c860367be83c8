"""Pure builders of what cloud-init reads: user-data, meta-data, network-config, and the seed ISO that carries them."""

from rum.cloudinit.documents import Nic, SeedSpec, build_seed, seed_hash
from rum.cloudinit.iso import build_iso

__all__ = ["Nic", "SeedSpec", "build_iso", "build_seed", "seed_hash"]
