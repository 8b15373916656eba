"""What YAML can name, and what is said when it is wrong: parameters, registries, locations, synonyms and errors."""
