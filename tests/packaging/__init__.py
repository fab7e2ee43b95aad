"""What is handed to other people: wheels that stand alone."""
