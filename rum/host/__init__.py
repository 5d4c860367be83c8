"""The host's side: reads rum.toml, drives libvirt, speaks to the guest agent."""
