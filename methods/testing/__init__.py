"""For authors of methods: the contract check and the toy backbone it runs on."""
