"""What rum itself sets up in a guest, through its agent: drives, mounts, settings, and the agent."""
