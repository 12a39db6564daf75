"""What the nodes' panels ask and are told."""
