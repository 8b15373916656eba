"""Broadcasting: two bottoms or more, element by element, with axes of length 1 repeated as needed."""

TITLE = "Broadcasting"
