"""The process of `genlock serve`: workers, replicas and their surroundings."""
