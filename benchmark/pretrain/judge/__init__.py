"""How the metric model and its part reader are trained."""
