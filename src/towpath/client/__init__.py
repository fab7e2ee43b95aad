"""What a node does as a user of relays: reservations, dialing, tickets and tunnels."""
