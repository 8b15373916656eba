"""What a layer is made of: the base class, its namespaces, fillers, and how its methods are called."""
