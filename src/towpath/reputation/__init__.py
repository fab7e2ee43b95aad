"""What relays are worth, by one's own measurements and by what others can show; and how that is told to others."""
