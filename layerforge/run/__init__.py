"""From a plan to numbers: memory, execution, what is captured and replayed, parameters, views and derivatives."""
