"""What the machine is doing and what it offers: sources of the owner's activity, the service manager, diagnosis."""
