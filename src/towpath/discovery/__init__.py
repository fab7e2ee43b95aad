"""Finding relays and peers: records, where they are published and looked up, which relay is taken."""
