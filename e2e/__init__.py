"""End-to-end tests: real cloud images, a real hypervisor, rum's public command and facade."""
