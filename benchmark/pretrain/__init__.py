"""How the embedded backbone `avatars64.v2` and its metric model are made, from the avatar world alone."""
