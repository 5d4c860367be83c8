"""The virtual machine: its files, its domain, its helper processes."""
