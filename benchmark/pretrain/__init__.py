"""How the embedded backbone `avatars64` and its metric model are made, from the avatar world alone."""
