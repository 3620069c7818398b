"""What a hub takes in, how fast its pages are, and what a second process adds."""
