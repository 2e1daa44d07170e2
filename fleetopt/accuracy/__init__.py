"""How well a recommendation held: predicted against simulated against observed."""
