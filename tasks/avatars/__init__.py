"""The avatar world: people, robots, monsters, plants and places drawn from named parts."""
